/**
 * UDP flows whose loss and delay are counted, as a program for either end of a tunnel. Both ends share one clock: they are on one machine.
 *
 *     node src/lab/flow.ts send ADDRESS PORT MBIT BYTES BURST SECONDS   datagrams of BYTES, BURST at a time; prints {sent, seconds}
 *     node src/lab/flow.ts serve PORT MBIT BYTES BURST SECONDS          the same, to whoever says hello first
 *     node src/lab/flow.ts receive PORT [ADDRESS]                       says hello to ADDRESS, PORT until something comes; prints "ready", and
 *                                                                       a second after the last datagram {received, p50, p99, most}
 *     node src/lab/flow.ts swallow PORT [ADDRESS]                       the same with a small socket that nobody reads: for floods
 *
 * A burst leaves by one UDP_SEGMENT send. Delays (milliseconds) are counted from the moment a burst was handed to the kernel.
 */
import { createSocket } from 'node:dgram';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { loadAddon } from '../native/index.ts';

export const FLOW_PROGRAM = fileURLToPath(import.meta.url);

export interface FlowSent {
  readonly sent: number;
  readonly seconds: number;
}

export interface FlowReceived {
  readonly received: number;
  readonly p50: number;
  readonly p99: number;
  readonly most: number;
}

/** sequence number u32 | reserved u32 | time of sending f64; the rest is padding. */
const STAMP_BYTES = 16;
const BLOCK_BYTES = 66_048;
const HELLO = 'hello';
const HELLO_EVERY_MS = 100;
/** So long after the last datagram a flow is over; before the first one it may take longer. */
const OVER_MS = 1_000;
const PATIENCE_MS = 15_000;
const CAPACITY = 64;
/** Where a batch keeps segment sizes is asked of the addon: this folder stands below src/datapath. */

interface Traffic {
  readonly megabits: number;
  readonly bytes: number;
  readonly burst: number;
  readonly seconds: number;
}

function say(what: string | FlowSent | FlowReceived): void {
  process.stdout.write(`${typeof what === 'string' ? what : JSON.stringify(what)}\n`);
}

/** Sends on schedule; what is late is sent at once. */
async function send(address: string, portNumber: number, ownPort: number, traffic: Traffic): Promise<FlowSent> {
  const addon = loadAddon();
  const { megabits, bytes, burst, seconds } = traffic;
  const { descriptor } = addon.openUdp({
    ...{ address: '0.0.0.0', portNumber: ownPort, reusePort: false, bufferBytes: 4 << 20 },
    ...{ gro: false, packetInfo: false, pmtu: 'omit' },
  });
  const arena = addon.createArena(BLOCK_BYTES, CAPACITY);
  const batch = addon.createBatch(arena.handle, CAPACITY);
  const received = addon.createBatch(addon.createArena(BLOCK_BYTES, 8).handle, 8).handle;
  const port = addon.openPort({ io: 'epoll', tun: -1, vnetHeader: false, udp: descriptor, udpReceive: received });
  const segmentSize = new Uint32Array(batch.buffer, addon.batchLayout(CAPACITY).offsets.segmentSize);
  const to = new Uint8Array(40);
  to[0] = 4;
  to[2] = portNumber >> 8;
  to[3] = portNumber & 255;
  to.set(address.split('.').map(Number), 4);
  const train = new Uint8Array(bytes * burst);
  const view = new DataView(train.buffer);
  const spacing = (bytes * burst * 8) / megabits;
  const began = addon.monotonicMicros();
  let sent = 0;
  for (let due = began; due < began + seconds * 1e6; due += spacing) {
    for (let now = addon.monotonicMicros(); now < due; now = addon.monotonicMicros()) addon.wait(port, due - now);
    const now = addon.monotonicMicros();
    for (let i = 0; i < burst; i++, sent++) {
      view.setUint32(i * bytes, sent);
      view.setFloat64(i * bytes + 8, now);
    }
    while (!addon.put(batch.handle, -1, 0, to, train)) addon.wait(port, 1_000); // the kernel has every block
    segmentSize[0] = burst > 1 ? bytes : 0;
    addon.udpTransmit(port, batch.handle);
    addon.clear(batch.handle);
    if (now - began > seconds * 1e6) break; // it cannot keep up
  }
  const taken = (addon.monotonicMicros() - began) / 1e6;
  addon.closePort(port);
  addon.closeDescriptor(descriptor);
  return { sent, seconds: taken };
}

/** @returns who says hello first */
function hello(portNumber: number): Promise<{ address: string; port: number }> {
  return new Promise((resolve) => {
    const socket = createSocket('udp4', (_, from) => socket.close(() => resolve(from)));
    socket.bind(portNumber, () => say('ready'));
  });
}

async function receive(portNumber: number, address: string | undefined, reads: boolean): Promise<FlowReceived> {
  const socket = createSocket({ type: 'udp4', ...(reads ? { recvBufferSize: 8 << 20 } : { recvBufferSize: 4096 }) });
  const addon = loadAddon();
  const delays: number[] = [];
  const seen = new Set<number>();
  let last = Number.POSITIVE_INFINITY;
  const began = Date.now();
  if (reads)
    socket.on('message', (datagram) => {
      if (datagram.length < STAMP_BYTES) return;
      last = Date.now();
      seen.add(datagram.readUInt32BE(0));
      delays.push((addon.monotonicMicros() - datagram.readDoubleBE(8)) / 1000);
    });
  await new Promise<void>((resolve) => socket.bind(portNumber, resolve));
  say('ready');
  while (Date.now() < Math.min(last + OVER_MS, seen.size > 0 ? Number.POSITIVE_INFINITY : began + PATIENCE_MS)) {
    if (address && seen.size === 0) socket.send(HELLO, portNumber, address);
    await sleep(HELLO_EVERY_MS);
  }
  socket.close();
  delays.sort((a, b) => a - b);
  const at = (part: number) => Number((delays[Math.floor((delays.length - 1) * part)] ?? 0).toFixed(2));
  return { received: seen.size, p50: at(0.5), p99: at(0.99), most: at(1) };
}

async function main([what, ...rest]: readonly string[]): Promise<void> {
  const addressed = what === 'send' ? 1 : 0;
  const [portNumber, megabits, bytes, burst, seconds] = rest.slice(addressed).map(Number);
  const traffic = { megabits, bytes, burst, seconds };
  if (what === 'send') say(await send(rest[0], portNumber, 0, traffic));
  else if (what === 'serve') {
    const { address, port } = await hello(portNumber);
    say(await send(address, port, portNumber, traffic));
  } else say(await receive(portNumber, rest[1], what === 'receive'));
}

if (process.argv[1] === FLOW_PROGRAM) await main(process.argv.slice(2));
