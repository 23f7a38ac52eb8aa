/**
 * Arenas and batches in plain JavaScript memory, so that the pipeline runs without the addon; and the three things the reference nodes
 * ask of a batch's memory, which the addon gives for its own batches. They never write a block that somebody else holds.
 */
import type { Addon, ArenaHandle, BatchHandle } from '../../native/index.ts';
import { ADDRESS, type Batch, batchLayout, HEADER, Verdict, viewBatch } from '../batch.ts';

export interface BatchMemory {
  /** Copies `bytes` into a free place of the arena and appends an entry of it, verdict pass, other columns 0. @returns false when full */
  put(slot: number, kind: number, address: Uint8Array | undefined, bytes: Uint8Array): boolean;
  /** Forgets every entry. */
  clear(): void;
  /** What the blocks nobody refers to hold together, in bytes. */
  freeBytes(): number;
  /** What all blocks hold together. */
  readonly totalBytes: number;
}

export interface ReferenceBatch extends Batch {
  readonly memory: BatchMemory;
}

/** Places start on cache lines, as in the addon. */
const ALIGNMENT = 64;
/** Free bytes in front of every entry, where headers may be put before it. */
const HEADROOM = 64;

export class MemoryArena {
  readonly bytes: Uint8Array;
  readonly blockSize: number;
  readonly blockCount: number;
  readonly #references: Uint32Array;

  /** @param blockSize multiple of 64 @param blockCount 1 to 32,768 */
  constructor(blockSize: number, blockCount: number) {
    this.blockSize = blockSize;
    this.blockCount = blockCount;
    this.bytes = new Uint8Array(blockSize * blockCount);
    this.#references = new Uint32Array(blockCount);
  }

  get freeBlocks(): number {
    let free = 0;
    for (const references of this.#references) if (references === 0) free++;
    return free;
  }

  /** @returns a block that was free and is now referred to once, or −1 */
  take(): number {
    const block = this.#references.indexOf(0);
    if (block >= 0) this.#references[block] = 1;
    return block;
  }

  retain(block: number): void {
    this.#references[block]++;
  }

  release(block: number): void {
    this.#references[block]--;
  }
}

/** @param capacity 1 to 65,536 */
export function createMemoryBatch(arena: MemoryArena, capacity: number): ReferenceBatch {
  const batch = viewBatch(new ArrayBuffer(batchLayout(capacity).bytes), capacity, arena.bytes);
  batch.header[HEADER.capacity] = capacity;
  return { ...batch, memory: new ArenaMemory(arena, batch) };
}

/**
 * The addon's batch for the reference nodes (`--aead noble`). They copy what they make, so `packets` needs an arena of its own: the blocks of a
 * receive arena are lent to the kernel.
 */
export function wrapNativeBatch(
  addon: Addon,
  batch: Batch,
  arena: { readonly handle: ArenaHandle; readonly blockSize: number; readonly blockCount: number },
): ReferenceBatch {
  const handle = batch.native as BatchHandle;
  const memory: BatchMemory = {
    put: (slot, kind, address, bytes) => addon.put(handle, slot, kind, address, bytes),
    clear: () => addon.clear(handle),
    freeBytes: () => addon.freeBlocks(arena.handle) * arena.blockSize,
    totalBytes: arena.blockSize * arena.blockCount,
  };
  return { ...batch, memory };
}

class ArenaMemory implements BatchMemory {
  readonly totalBytes: number;
  readonly #arena: MemoryArena;
  readonly #batch: Batch;
  #block = -1; // the one that small entries share; held by this batch until it is full or cleared
  #used = 0;

  constructor(arena: MemoryArena, batch: Batch) {
    this.#arena = arena;
    this.#batch = batch;
    this.totalBytes = arena.blockSize * arena.blockCount;
  }

  freeBytes(): number {
    return this.#arena.freeBlocks * this.#arena.blockSize;
  }

  put(slot: number, kind: number, address: Uint8Array | undefined, bytes: Uint8Array): boolean {
    const { header, capacity } = this.#batch;
    const entry = header[HEADER.count];
    if (entry === capacity || !this.#reserve(bytes.length)) return false;
    const offset = this.#block * this.#arena.blockSize + this.#used + HEADROOM;
    this.#batch.bytes.set(bytes, offset);
    this.#used = Math.ceil((this.#used + HEADROOM + bytes.length) / ALIGNMENT) * ALIGNMENT;
    this.#arena.retain(this.#block);
    this.#append(entry, slot, kind, address, offset, bytes.length);
    header[HEADER.count] = entry + 1;
    return true;
  }

  clear(): void {
    const { header, block } = this.#batch;
    for (let i = 0; i < header[HEADER.count]; i++) this.#arena.release(block[i]);
    this.#leaveBlock();
    header[HEADER.count] = 0;
    header[HEADER.consumed] = 0;
    header[HEADER.wanted] = 0;
  }

  #reserve(length: number): boolean {
    const need = HEADROOM + length;
    if (this.#block >= 0 && this.#used + need <= this.#arena.blockSize) return true;
    if (need > this.#arena.blockSize) return false;
    this.#leaveBlock();
    this.#block = this.#arena.take();
    this.#used = 0;
    return this.#block >= 0;
  }

  #leaveBlock(): void {
    if (this.#block >= 0) this.#arena.release(this.#block);
    this.#block = -1;
  }

  #append(
    entry: number,
    slot: number,
    kind: number,
    address: Uint8Array | undefined,
    offset: number,
    length: number,
  ): void {
    const batch = this.#batch;
    batch.counter[entry] = 0n;
    batch.offset[entry] = offset;
    batch.length[entry] = length;
    batch.segmentSize[entry] = 0;
    batch.train[entry] = 0;
    batch.slot[entry] = slot;
    batch.error[entry] = 0;
    batch.epoch[entry] = 0;
    batch.block[entry] = this.#block;
    batch.headerLength[entry] = 0;
    batch.checksumStart[entry] = 0;
    batch.checksumOffset[entry] = 0;
    batch.flags[entry] = 0;
    batch.verdict[entry] = Verdict.pass;
    batch.kind[entry] = kind;
    const at = entry * ADDRESS.size;
    batch.address.fill(0, at, at + ADDRESS.size);
    if (address) batch.address.set(address, at);
  }
}
