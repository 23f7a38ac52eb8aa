/**
 * Handshakes at a steady rate against a server: `storm.ts HOST PORT CA RATE SECONDS [PATIENCE [TOKEN]]`. Each client is a socket of its own that logs in
 * (by password, or by a token), says
 * Goodbye and goes. Prints how many came Online, and the processor time that this took. It shares the machine with the server it loads, so
 * it is as cheap as an honest client can be: one timer for all, and a chain that was accepted once is not verified again.
 */

import { X509Certificate } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { createNativeVault } from '../src/crypto/native-vault.ts';
import { loadAddon } from '../src/native/index.ts';
import { MemoryClient } from '../test/server/memory-server.ts';

/** How often clients are begun, and those that wait are looked after. */
const TICK_MS = 5;
/** After Goodbye a socket hears the server's last words before the next client has it. */
const LAST_WORDS_MS = 200;

const [host, port, ca, rate, seconds, patience = '1.5', token] = process.argv.slice(2);
const GIVE_UP_MS = Math.max(8_000, 1_000 * Number(patience));
const addon = loadAddon();
const vault = createNativeVault(addon);
const now = () => addon.monotonicMicros();
const anchors = { trustAnchors: [new Uint8Array(new X509Certificate(readFileSync(ca)).raw)], now: Date.now };

interface Waiting {
  readonly client: MemoryClient;
  readonly socket: Socket;
  readonly since: number;
}
const waiting = new Set<Waiting>();
/** Sockets of clients that have gone, and since when: a new one costs more than a handshake's whole flight. */
const idle: { socket: Socket; since: number }[] = [];
let online = 0;
let begun = 0;

function withSocket(use: (socket: Socket) => void): void {
  if (idle.length > 0 && performance.now() - idle[0].since > LAST_WORDS_MS)
    return use((idle.shift() as { socket: Socket }).socket);
  const socket = createSocket('udp4');
  socket.connect(Number(port), host, () => use(socket)); // so that no datagram needs a name looked up
}

function flush({ client, socket }: Waiting): void {
  for (const datagram of client.sent()) socket.send(datagram);
}

function leave(one: Waiting): void {
  waiting.delete(one);
  one.socket.removeAllListeners('message');
  idle.push({ socket: one.socket, since: performance.now() });
}

function begin(socket: Socket): void {
  const client = new MemoryClient(now(), begun, 'password', vault, anchors, 'user', token);
  const one: Waiting = { client, socket, since: performance.now() };
  waiting.add(one);
  socket.on('message', (datagram) => {
    client.receive(now(), datagram);
    if (client.session.state === 'online') {
      online++;
      client.session.close(now(), 'LOCAL');
      client.pump(now());
      leave(one);
    }
    flush(one);
  });
  flush(one);
}

function look(one: Waiting): void {
  const { client, since } = one;
  const at = now();
  if (Math.min(client.dtls.nextDeadline() ?? Infinity, client.session.nextDeadline() ?? Infinity) <= at) {
    client.dtls.advance(at);
    client.session.advance(at);
    client.pump(at);
    flush(one);
  }
  if (performance.now() - since > GIVE_UP_MS) leave(one);
}

const began = performance.now();
const end = 1_000 * Number(seconds);
setInterval(() => {
  const elapsed = performance.now() - began;
  const due = Math.floor((Math.min(elapsed, end) * Number(rate)) / 1_000);
  for (; begun < due; begun++) withSocket(begin);
  for (const one of waiting) look(one);
  if (elapsed < end + 1_000 * Number(patience)) return;
  const { user, system } = process.cpuUsage();
  console.log(JSON.stringify({ begun, online, cpuMs: Math.round((user + system) / 1000) }));
  process.exit(0);
}, TICK_MS);
