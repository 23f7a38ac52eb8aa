/**
 * The kernel's filters on a shard's sockets (`filterUdp` of the addon), as the shard sees them. The kernel counts what they drop with what the
 * sockets had no room for, and only the second says that a shard is too slow, or flooded.
 */
import type { Addon, LanesHandle, PortHandle } from '../native/index.ts';

export interface FilterOptions {
  /** Descriptor of the map that all shards write. */
  readonly map: number;
  /** Of each shard; a power of two. */
  readonly entries: number;
  /** Which of two engines this is, 0 or 1: of the one before it the map knows the ids, too. */
  readonly half: number;
}

/** Entries that a shard's part of the map has at least and at most. */
const FEWEST = 256;
const MOST = 65_536;

/** What a filter counts, by its place among the counters of a shard. */
const REPLAYS = 0;
const GARBAGE = 1;

/** @returns entries of each shard for so many sessions in all: two a session, so that few share one */
export function filterEntries(sessions: number, shards: number): number {
  const wanted = 2 ** Math.ceil(Math.log2((2 * sessions) / shards));
  return Math.max(FEWEST, Math.min(MOST, wanted));
}

export class SocketFilter {
  readonly #addon: Addon;
  readonly #lanes: LanesHandle;
  /** What the filters have dropped, written by the kernel. */
  readonly #counts: BigUint64Array | undefined;
  /** What they had dropped for a shard before this one. */
  readonly #before: readonly bigint[];

  /** @param options undefined: the sockets have no filter */
  constructor(addon: Addon, lanes: LanesHandle, options: FilterOptions | undefined) {
    this.#addon = addon;
    this.#lanes = lanes;
    this.#counts = options && addon.attachFloors(lanes, options.map, options.entries, options.half).dropped;
    this.#before = this.#counts ? [...this.#counts] : [];
  }

  /** From now on the port counts what its sockets had no room for, and not what the filters dropped. */
  watch(port: PortHandle): void {
    if (this.#counts) this.#addon.countWithoutFilters(port, this.#lanes);
  }

  /** What they have dropped: replays and numbers far ahead, and garbage of strangers. */
  get dropped(): { filtered: number; garbage: number } {
    return { filtered: this.#dropped(REPLAYS), garbage: this.#dropped(GARBAGE) };
  }

  /** The slot has been cleared. */
  forget(slot: number): void {
    if (this.#counts) this.#addon.forgetFloors(this.#lanes, slot);
  }

  #dropped(which: number): number {
    return this.#counts ? Number(this.#counts[which] - this.#before[which]) : 0;
  }
}
