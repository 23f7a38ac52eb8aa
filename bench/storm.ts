/**
 * Handshakes at a steady rate against a server: `storm.ts HOST PORT CA RATE SECONDS`. Each client is a socket of its own that logs in, says
 * Goodbye and goes. Prints how many came Online.
 */

import { X509Certificate } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { createNativeVault } from '../src/crypto/native-vault.ts';
import { loadAddon } from '../src/native/index.ts';
import { MemoryClient } from '../test/server/memory-server.ts';

const [host, port, ca, rate, seconds] = process.argv.slice(2);
const addon = loadAddon();
const vault = createNativeVault(addon);
const now = () => addon.monotonicMicros();
const anchors = { trustAnchors: [new Uint8Array(new X509Certificate(readFileSync(ca)).raw)], now: Date.now };
let online = 0;
let begun = 0;

function begin(): void {
  const socket = createSocket('udp4');
  const client = new MemoryClient(now(), begun++, 'password', vault, anchors, 'user');
  const flush = () => {
    for (const datagram of client.sent()) socket.send(datagram, Number(port), host);
  };
  let counted = false;
  const look = () => {
    if (client.session.state === 'online' && !counted) {
      counted = true;
      online++;
      client.session.close(now(), 'LOCAL');
      client.pump(now());
      flush();
      setTimeout(() => socket.close(), 200);
      clearInterval(timer);
    }
    flush();
  };
  const timer = setInterval(() => {
    client.dtls.advance(now());
    client.session.advance(now());
    client.pump(now());
    look();
  }, 50);
  setTimeout(() => clearInterval(timer), 8_000).unref();
  socket.on('message', (datagram) => {
    client.receive(now(), new Uint8Array(datagram));
    look();
  });
  flush();
}

const began = performance.now();
while (performance.now() - began < 1_000 * Number(seconds)) {
  while (begun < ((performance.now() - began) * Number(rate)) / 1_000) begin();
  await sleep(2);
}
await sleep(1_500);
console.log(JSON.stringify({ begun, online }));
process.exit(0);
