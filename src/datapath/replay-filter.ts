/**
 * The kernel's filter on a shard's socket (`filterReplays` of the addon), as the shard sees it: what it drops, and what the socket has lost
 * besides. The kernel counts both as drops of the socket, and only the second says that the shard is too slow.
 */
import type { Addon, LanesHandle } from '../native/index.ts';

export interface FilterOptions {
  /** Descriptor of the map that all shards write. */
  readonly map: number;
  /** Of each shard; a power of two. */
  readonly entries: number;
}

/** Entries that a shard's part of the map has at least and at most. */
const FEWEST = 256;
const MOST = 65_536;

/** @returns entries of each shard for so many sessions in all: two a session, so that few share one */
export function filterEntries(sessions: number, shards: number): number {
  const wanted = 2 ** Math.ceil(Math.log2((2 * sessions) / shards));
  return Math.max(FEWEST, Math.min(MOST, wanted));
}

export class ReplayFilter {
  readonly #addon: Addon;
  readonly #lanes: LanesHandle;
  /** What the filter has dropped, written by the kernel. */
  readonly #count: BigUint64Array | undefined;
  /** What it had dropped for a shard before this one. */
  readonly #before: bigint;
  #lost = 0;

  /** Make it before the port is opened, which begins to count there. @param options undefined: the socket has no filter */
  constructor(addon: Addon, lanes: LanesHandle, options: FilterOptions | undefined) {
    this.#addon = addon;
    this.#lanes = lanes;
    this.#count = options && addon.attachFloors(lanes, options.map, options.entries).dropped;
    this.#before = this.#count?.[0] ?? 0n;
  }

  /** Datagrams that the filter has dropped. */
  get dropped(): number {
    return this.#count ? Number(this.#count[0] - this.#before) : 0;
  }

  /**
   * @param socketDrops of the port's counters, read just now: the filter counts before the socket does, so that what it has dropped is never taken for lost
   * @returns trains that the socket had no room for; never less than before
   */
  lost(socketDrops: number): number {
    this.#lost = Math.max(this.#lost, socketDrops - this.dropped);
    return this.#lost;
  }

  /** The slot has been cleared. */
  forget(slot: number): void {
    if (this.#count) this.#addon.forgetFloors(this.#lanes, slot);
  }
}
