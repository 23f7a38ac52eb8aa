/**
 * The kernel's filters on a shard's sockets (`filterUdp` of the addon), as the shard sees them: what they drop, and what the sockets have lost
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
  /** Of sessions, and of strangers. */
  readonly #lost = [0, 0];

  /** Make it before the port is opened, which begins to count there. @param options undefined: the sockets have no filter */
  constructor(addon: Addon, lanes: LanesHandle, options: FilterOptions | undefined) {
    this.#addon = addon;
    this.#lanes = lanes;
    this.#counts = options && addon.attachFloors(lanes, options.map, options.entries).dropped;
    this.#before = this.#counts ? [...this.#counts] : [];
  }

  /**
   * @param socketDrops of the port's counters, read just now: a filter counts before its socket does, so that what it has dropped is never taken for lost
   * @returns trains that the sessions' socket had no room for; never less than before
   */
  lost(socketDrops: number): number {
    return this.#besides(REPLAYS, socketDrops);
  }

  /** @param port what a port counts, read just now @returns the same, but what the filters dropped apart from what the sockets had no room for */
  parted(port: Readonly<Record<string, number>>): Record<string, number> {
    return {
      ...port,
      socketDrops: this.#besides(REPLAYS, port.socketDrops),
      strangerDrops: this.#besides(GARBAGE, port.strangerDrops),
      filtered: this.#dropped(REPLAYS),
      garbage: this.#dropped(GARBAGE),
    };
  }

  /** The slot has been cleared. */
  forget(slot: number): void {
    if (this.#counts) this.#addon.forgetFloors(this.#lanes, slot);
  }

  #dropped(which: number): number {
    return this.#counts ? Number(this.#counts[which] - this.#before[which]) : 0;
  }

  #besides(which: number, drops: number): number {
    this.#lost[which] = Math.max(this.#lost[which], drops - this.#dropped(which));
    return this.#lost[which];
  }
}
