/**
 * When the sessions of a shard have to take turns downlink. While the device's queue is short, or one session has it to itself, packets
 * pass through the pacer as they came. A queue that stays long is filled by those who send the most, and delays and drops everybody alike:
 * then the shard reads the device faster than it can seal, keeps a bounded queue for each session, and lets each have its turn.
 */
import { type Micros, MS } from '../wire/time.ts';
import type { Batch } from './batch.ts';
import { VECTOR } from './batches.ts';
import { UNLIMITED } from './pacer.ts';

/** Superpackets of a full vector: not all that wait have come into the ring by the time it is looked at. */
const FULL = VECTOR / 2;
/** And bytes: a vector of long ones is as many as stay in the cache (native/io/portion.h). */
const FULL_BYTES = 262_144;
/** For so long the device must have given full vectors, or the socket taken nothing. */
const LONG: Micros = 2_000;
/** Two sessions in so much time: there is somebody to be fair to. */
const TOGETHER: Micros = 100_000;
/**
 * When JavaScript looks at turns that go on without it: soon where more comes than is worked on, which is what fair shares and turns are for, and else for
 * what it counts; seldom where one session has the shard to itself.
 */
export const LOOKS = {
  soon: LONG,
  late: 8 * MS,
  alone: 50 * MS,
  together: TOGETHER,
  full: FULL,
  fullBytes: FULL_BYTES,
};
/** A vector that is not full ends nothing: the next one may have come while this one was worked on. */
const GAP: Micros = 5_000;
/** After so much time without a full vector it is over. */
const OVER: Micros = 20_000;
/**
 * While the device has more, a part of what a turn reads goes on, and of what the next one reads a smaller one: reading costs a quarter of the
 * whole way and less (docs/linux-facts.md §1), so that the device is empty soon, and everybody's packets have been seen.
 */
const SHRINK = 0.75;
const LEAST_PART = 1 / 16;
/** Else all may go, up to so much in one turn. */
const TURN_BYTES = 64 * 65_536;

const NEVER = Number.NEGATIVE_INFINITY;
/** Points in time, and the part, as elements: a field that holds a fraction is a new object each time it changes. */
const AT = { longSince: 0, lastLong: 1, together: 2, part: 3 } as const;

export class Turns {
  /** Sessions take turns now. */
  taken = false;
  readonly #at = new Float64Array(4).fill(NEVER);
  #slot = -1;

  /**
   * Superpackets have been looked up, so many of them. @param blocked the socket takes nothing for now @param waits something waits at the pacer
   * @returns bytes that may go on to lanes.seal
   */
  vector(now: Micros, superpackets: Batch, count: number, blocked: boolean, waits: boolean): number {
    const at = this.#at;
    const long = blocked || count >= FULL || bytesOf(superpackets, count) >= FULL_BYTES;
    if (long) {
      if (now - at[AT.lastLong] > GAP) at[AT.longSince] = now;
      at[AT.lastLong] = now;
    }
    if (count > 0) this.#look(now, superpackets, count);
    if (this.taken) this.taken = waits || now - at[AT.lastLong] < OVER;
    else this.taken = long && now - at[AT.longSince] >= LONG && now - at[AT.together] < TOGETHER;
    if (!this.taken) {
      at[AT.part] = 1;
      return UNLIMITED;
    }
    if (blocked) return 0;
    at[AT.part] = long ? Math.max(LEAST_PART, at[AT.part] * SHRINK) : 1;
    return long ? Math.ceil(bytesOf(superpackets, count) * at[AT.part]) : TURN_BYTES;
  }

  #look(now: Micros, { slot }: Batch, count: number): void {
    for (let i = 0; i < count; i++) {
      if (slot[i] === this.#slot || slot[i] < 0) continue;
      if (this.#slot >= 0) this.#at[AT.together] = now;
      this.#slot = slot[i];
    }
  }
}

function bytesOf({ length }: Batch, count: number): number {
  let bytes = 0;
  for (let i = 0; i < count; i++) bytes += length[i];
  return bytes;
}
