/**
 * Sockets under the kernel's filters, and the map these go by, written by the test as a shard would (native/steering/floors.h, numbers.h,
 * native/io/shares.h).
 */
import { equal } from 'node:assert/strict';
import type { PortHandle } from '../../src/native/index.ts';
import {
  addon,
  createPool,
  FEWEST_ENTRIES,
  loopback,
  openSocket,
  openUdpPort,
  PACKET_BLOCK,
  type Pool,
} from './rig.ts';

const HEAD_BYTES = 192;
const ENTRY_BYTES = 128;
/** In a head. */
const [BEYOND, PUT, UNTIL, TAKEN, EPOCH] = [16, 64, 128, 136, 140];
/** In an entry. */
const [ENTRY_TAKEN, ENTRY_PUT, ENTRY_EPOCH] = [32, 64, 68];
const EPOCH_BYTES = 256;
const BLOCK_BYTES = 4 * EPOCH_BYTES;
const BLOCKS = 64;
const TABLES_BYTES = 4096;
/** Of one engine, for so few entries: the fewest bits there are. */
const IDS_BYTES = 512;
/** Round keys a block has room for; those of a shorter key stand at the end. */
const KEY_WORDS = 60;
const ENTRIES = FEWEST_ENTRIES;
export const MOST = 2n ** 48n - 1n;

export const indexOf = (id: bigint) => Number((id >> 8n) & BigInt(ENTRIES - 1));
export const bitOf = (id: bigint) => Number((id >> 8n) & BigInt(8 * IDS_BYTES - 1));
export const tagOf = (id: bigint) => id >> 48n;

export interface Told {
  readonly id: bigint; // as the machine reads its 8 bytes
  readonly tag?: bigint; // 16 bits; those of the id unless said otherwise
  readonly floor: bigint;
  readonly until?: bigint;
  readonly block?: bigint;
}

export interface Epoch {
  readonly low: number;
  readonly span: number;
  readonly rounds: number;
  readonly keys?: Uint32Array;
}

/** So long from now, in nanoseconds, that no test lasts until then; or as long ago. */
export const fromNow = (seconds: number) => BigInt(Math.round((addon.monotonicMicros() + seconds * 1e6) * 1e3));

/** The map, of tables of the fewest entries. */
export class FilterMap {
  readonly #words: BigUint64Array;
  readonly #halves: Uint32Array;
  readonly #bytes: Uint8Array;
  readonly #shards: number;

  constructor(map: number, shards: number) {
    const bytes = shards * (HEAD_BYTES + ENTRIES * ENTRY_BYTES + BLOCKS * BLOCK_BYTES) + TABLES_BYTES + 2 * IDS_BYTES;
    const { buffer } = addon.attachSteering(map, bytes);
    this.#shards = shards;
    this.#words = new BigUint64Array(buffer);
    this.#halves = new Uint32Array(buffer);
    this.#bytes = new Uint8Array(buffer);
  }

  dropped(shard: number): number {
    return Number(this.#words[(shard * HEAD_BYTES) / 8]);
  }

  garbage(shard: number): number {
    return Number(this.#words[(shard * HEAD_BYTES) / 8 + 1]);
  }

  /** Dropped because its session had its share of the socket. */
  beyond(shard: number): number {
    return Number(this.#words[(shard * HEAD_BYTES + BEYOND) / 8]);
  }

  /** All that was put into the sockets has been taken from them. */
  emptied(): void {
    for (let head = 0; head < this.#shards * HEAD_BYTES; head += HEAD_BYTES) {
      this.#halves[(head + TAKEN) / 4] = this.#halves[(head + PUT) / 4];
      this.#halves[(head + EPOCH) / 4]++;
    }
  }

  /** What has been taken from the socket of a shard, and was a session's. */
  take(shard: number, id: bigint, count: number): void {
    this.#halves[(shard * HEAD_BYTES + TAKEN) / 4] += count;
    this.#halves[(8 * this.#entryAt(shard, indexOf(id)) + ENTRY_TAKEN) / 4] += count;
  }

  /** Of the socket of a shard, or of one session's part of it. */
  counts(shard: number, id?: bigint): { put: number; taken: number; epoch: number } {
    const at = id === undefined ? shard * HEAD_BYTES : 8 * this.#entryAt(shard, indexOf(id));
    const [put, taken, epoch] = (id === undefined ? [PUT, TAKEN, EPOCH] : [ENTRY_PUT, ENTRY_TAKEN, ENTRY_EPOCH]).map(
      (offset) => this.#halves[(at + offset) / 4],
    );
    return { put, taken, epoch };
  }

  /** The bits that are set for ids, of the engine of one half. */
  bitsOfIds(half: number): number[] {
    const from = this.#bytes.length - (2 - half) * IDS_BYTES;
    const set = (bit: number) => this.#bytes[from + (bit >> 3)] & (1 << (bit & 7));
    return Array.from({ length: 8 * IDS_BYTES }, (_, bit) => bit).filter(set);
  }

  /** That there is a session of this id, to the engine of one half. */
  tellOfId(half: number, id: bigint, there = true): void {
    const bit = bitOf(id);
    const at = this.#bytes.length - (2 - half) * IDS_BYTES + (bit >> 3);
    if (there) this.#bytes[at] |= 1 << (bit & 7);
    else this.#bytes[at] &= ~(1 << (bit & 7));
  }

  tell(shard: number, { id, tag = tagOf(id), floor, until = 0n, block = 0n }: Told): void {
    this.#words.set([id, (tag << 48n) | floor, until, block], this.#entryAt(shard, indexOf(id)));
  }

  /** Until when ids that name nobody are suspect. */
  tellOfNobody(shard: number, until: bigint): void {
    this.#words[(shard * HEAD_BYTES + UNTIL) / 8] = until;
  }

  /** @param bits the two lowest of the epoch's number */
  tellNumbers(shard: number, block: number, bits: number, { low, span, rounds, keys = new Uint32Array() }: Epoch) {
    const at = (this.#blockAt(shard, block) + bits * EPOCH_BYTES) / 4;
    this.#halves.set([low, span, rounds, 0], at);
    this.#halves.set(keys, at + 4 + KEY_WORDS - keys.length);
  }

  /** Of each entry that anything was told of: id, word, until and block. */
  entries(shard: number): { id: bigint; word: bigint; until: bigint; block: bigint }[] {
    const all = Array.from({ length: ENTRIES }, (_, i) => {
      const [id, word, until, block] = this.#words.subarray(this.#entryAt(shard, i));
      return { id, word, until, block };
    });
    return all.filter(({ id }) => id !== 0n);
  }

  /** @param block from 1 on */
  block(shard: number, block: number): Uint32Array {
    const at = this.#blockAt(shard, block) / 4;
    return this.#halves.slice(at, at + BLOCK_BYTES / 4);
  }

  /** All but the counts, and the tables. */
  clear(): void {
    for (let shard = 0; shard < this.#shards; shard++) this.tellOfNobody(shard, 0n);
    const ids = this.#bytes.length - 2 * IDS_BYTES;
    this.#words.fill(0n, this.#entryAt(0, 0), (ids - TABLES_BYTES) / 8);
    this.#bytes.fill(0, ids);
  }

  #entryAt(shard: number, index: number): number {
    return (this.#shards * HEAD_BYTES + (shard * ENTRIES + index) * ENTRY_BYTES) / 8;
  }

  #blockAt(shard: number, block: number): number {
    const blocks = this.#shards * (HEAD_BYTES + ENTRIES * ENTRY_BYTES);
    return blocks + (shard * BLOCKS + block - 1) * BLOCK_BYTES;
  }
}

export interface End {
  readonly port: PortHandle;
  readonly trains: Pool;
  readonly portNumber: number;
  /** Everything that came has been received. */
  readonly emptied?: () => void;
}

export interface Filtered {
  readonly ends: End[];
  readonly map: FilterMap;
  close(): void;
}

/** Of each shard a socket for sessions, then all doors. One port for all of them, or one each. */
export function openFiltered(
  shards: number,
  { gro = true, address = '127.0.0.1', group = false, doors = 3 * shards, bufferBytes = 4 << 20 } = {},
): Filtered {
  const options = { gro, address, reusePort: true, bufferBytes };
  const first = openSocket(options);
  const sockets = [first];
  while (sockets.length < shards + doors)
    sockets.push(openSocket({ ...options, portNumber: group ? first.portNumber : 0 }));
  const descriptors = sockets.map(({ descriptor }) => descriptor);
  const { map: descriptor } = addon.filterUdp(descriptors.slice(0, shards), descriptors.slice(shards), ENTRIES);
  const map = new FilterMap(descriptor, shards);
  addon.closeDescriptor(descriptor);
  const ends = sockets.map((socket) => ({
    ...openUdpPort('epoll', socket),
    portNumber: socket.portNumber,
    emptied: () => map.emptied(),
  }));
  return {
    ends,
    map,
    close: () => {
      for (const { port } of ends) addon.closePort(port);
      for (const each of descriptors) addon.closeDescriptor(each);
    },
  };
}

export interface Datagram {
  readonly id: bigint;
  readonly counter?: bigint;
  readonly lane?: number;
  readonly magic?: number;
  readonly length?: number;
  /** What stands behind the header in place of a number. */
  readonly record?: Uint8Array;
}

export function bytesOf({ id, counter = 0n, lane = 1, magic = 0x4865, length, record }: Datagram): Uint8Array {
  const size = length ?? (record ? 16 + record.length : 60);
  const bytes = new Uint8Array(Math.max(size, 24, 16 + (record?.length ?? 0)));
  const view = new DataView(bytes.buffer);
  view.setUint16(0, magic);
  bytes.set([1, 3, 0, lane], 2);
  view.setBigUint64(8, id, true); // read as this machine does
  view.setBigUint64(16, counter);
  if (record) bytes.set(record, 16);
  return bytes.slice(0, size);
}

/** Sends them one by one from a socket of its own and looks at what comes: by number. */
export function arriving(end: End, datagrams: readonly Uint8Array[]): number[] {
  const socket = openSocket();
  const sender = openUdpPort('epoll', socket);
  const out = createPool(PACKET_BLOCK, 64);
  const to = loopback(end.portNumber);
  for (const [number, bytes] of datagrams.entries()) {
    const numbered = bytes.slice();
    numbered[6] = number; // of the reserved bytes: any value
    addon.put(out.handle, 0, 0, to, numbered);
  }
  equal(addon.udpTransmit(sender.port, out.handle), 0);
  addon.closePort(sender.port);
  addon.closeDescriptor(socket.descriptor);
  const found: number[] = [];
  const { batch } = end.trains;
  while (addon.wait(end.port, 0) & 1) {
    addon.udpReceive(end.port, 256);
    for (let i = 0; i < batch.header[0]; i++) found.push(batch.bytes[batch.offset[i] + 6]);
    addon.clear(end.trains.handle);
  }
  end.emptied?.();
  return found;
}
