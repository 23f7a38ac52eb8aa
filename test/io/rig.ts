/** What the port tests share: arenas and batches, loopback sockets, TUN devices in a namespace of their own. */
import { spawnSync } from 'node:child_process';
import { ADDRESS, type Batch, batchLayout, viewBatch } from '../../src/datapath/batch.ts';
import { type ArenaHandle, type BatchHandle, loadAddon, type PortHandle } from '../../src/native/index.ts';

export const addon = loadAddon();
export type Io = 'io_uring' | 'epoll';

/** Of each shard, in the map of `filterUdp`: so that sessions share them. */
export const FEWEST_ENTRIES = 16;

const skips: string[] = [];

/** Why io_uring cannot be tested here, or undefined. */
export function uringRefusal(): string | undefined {
  try {
    const socket = openSocket();
    addon.closePort(openUdpPort('io_uring', socket).port);
    addon.closeDescriptor(socket.descriptor);
    return undefined;
  } catch (error) {
    return `the kernel refuses io_uring: ${(error as Error).message}`;
  }
}

/** The backends this kernel has; a missing one is named on the terminal. */
export function backends(): Io[] {
  const refusal = uringRefusal();
  if (refusal === undefined) return ['io_uring', 'epoll'];
  if (!skips.includes(refusal)) console.warn(`skipped: ${refusal}`);
  skips.push(refusal);
  return ['epoll'];
}

/** Why the kernel cannot be had to drop replays, or undefined. */
export function filterRefusal(): string | undefined {
  const { descriptor } = openSocket();
  try {
    addon.closeDescriptor(addon.filterUdp([descriptor], [], FEWEST_ENTRIES).map);
    return undefined;
  } catch (error) {
    return `the kernel refuses eBPF: ${(error as Error).message}`;
  } finally {
    addon.closeDescriptor(descriptor);
  }
}

export interface Pool {
  arena: ArenaHandle;
  handle: BatchHandle;
  batch: Batch;
}

export function createPool(blockSize: number, blockCount: number, capacity = 256): Pool {
  const { handle: arena, buffer: bytes } = addon.createArena(blockSize, blockCount);
  const { handle, buffer } = addon.createBatch(arena, capacity);
  if (buffer.byteLength < batchLayout(capacity).bytes) throw new Error('batch too small');
  return { arena, handle, batch: viewBatch(buffer, capacity, new Uint8Array(bytes), handle) };
}

export function openSocket(
  options: { address?: string; portNumber?: number; reusePort?: boolean; bufferBytes?: number; gro?: boolean } = {},
) {
  return addon.openUdp({
    address: '127.0.0.1',
    portNumber: 0,
    reusePort: false,
    bufferBytes: 4 << 20,
    gro: true,
    packetInfo: true,
    pmtu: 'omit',
    ...options,
  });
}

export const TRAIN_BLOCK = 65_536 + 512;
export const PACKET_BLOCK = 65_536 + 64;

export function openUdpPort(
  io: Io,
  socket: { descriptor: number },
  options: object = {},
): { port: PortHandle; trains: Pool } {
  const trains = createPool(TRAIN_BLOCK, 32);
  const port = addon.openPort({
    io,
    tun: -1,
    vnetHeader: false,
    udp: socket.descriptor,
    udpReceive: trains.handle,
    ...options,
  });
  return { port, trains };
}

/** An `address` element: peer 127.0.0.1 or ::1 at `portNumber`. */
export function loopback(portNumber: number, family: 4 | 6 = 4, local?: number[]): Uint8Array {
  const element = new Uint8Array(ADDRESS.size);
  element[ADDRESS.family] = family;
  element[ADDRESS.portNumber] = portNumber >> 8;
  element[ADDRESS.portNumber + 1] = portNumber & 255;
  element.set(family === 4 ? [127, 0, 0, 1] : [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], ADDRESS.remote);
  if (local) element.set(local, ADDRESS.local);
  return element;
}

/** Appends a train whose every datagram starts with a running number (u32), so that order and loss can be seen. */
export function putTrain(
  pool: Pool,
  address: Uint8Array,
  first: number,
  datagrams: number,
  segmentSize: number,
  lastSize = segmentSize,
): number {
  const bytes = new Uint8Array((datagrams - 1) * segmentSize + lastSize);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < datagrams; i++) view.setUint32(i * segmentSize, first + i);
  const entry = pool.batch.header[0];
  if (!addon.put(pool.handle, 0, 0, address, bytes)) throw new Error('no block for a train');
  if (datagrams > 1) pool.batch.segmentSize[entry] = segmentSize;
  return entry;
}

/** The datagrams of the entries of a receive batch, cut at segmentSize. */
export function datagramsOf(batch: Batch): { number: number; length: number }[] {
  const found: { number: number; length: number }[] = [];
  for (let i = 0; i < batch.header[0]; i++) {
    const step = batch.segmentSize[i] || batch.length[i];
    for (let at = 0; at < batch.length[i]; at += step) {
      const from = batch.offset[i] + at;
      const view = new DataView(batch.bytes.buffer, batch.bytes.byteOffset + from, 4);
      found.push({ number: view.getUint32(0), length: Math.min(step, batch.length[i] - at) });
    }
  }
  return found;
}

/** Waits in the kernel and receives until `count` datagrams are there or nothing came for 200 ms. */
export function receiveAll(port: PortHandle, trains: Pool, count: number): { number: number; length: number }[] {
  const all: { number: number; length: number }[] = [];
  while (all.length < count) {
    if ((addon.wait(port, 200_000) & 1) === 0) break;
    addon.udpReceive(port, 256);
    all.push(...datagramsOf(trains.batch));
    addon.clear(trains.handle);
  }
  return all;
}

/** Why the tests that make network namespaces cannot run here, or undefined. */
export function namespaceRefusal(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root: ip netns add';
  const made = spawnSync('ip', ['-V']);
  return made.status === 0 ? undefined : 'needs iproute2';
}

export function run(command: string, ...args: string[]): string {
  const done = spawnSync(command, args, { encoding: 'utf8' });
  if (done.status !== 0) throw new Error(`${command} ${args.join(' ')}: ${done.stderr}`);
  return done.stdout;
}
