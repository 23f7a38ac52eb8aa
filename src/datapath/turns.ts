/**
 * When the sessions of a shard have to take turns downlink. While the device's queue is short, or one session has it to itself, packets
 * pass through the pacer as they came. A queue that stays long is filled by those who send the most, and delays and drops everybody alike:
 * then the shard reads the device faster than it can seal, keeps a bounded queue for each session, and lets each have its turn.
 */
import type { Micros } from '../wire/time.ts';
import { type Batch, HEADER } from './batch.ts';
import { VECTOR } from './batches.ts';
import { UNLIMITED } from './pacer.ts';

/** For so long the device must have given full vectors, or the socket taken nothing. */
const LONG: Micros = 2_000;
/** Two sessions in so much time: there is somebody to be fair to. */
const TOGETHER: Micros = 100_000;
/** After so much time without a full vector it is over. */
const OVER: Micros = 20_000;
/** What goes on in one turn, of the two vectors that it reads: half a millisecond's work on the machine of docs/linux-facts.md. */
const TURN_BYTES = 16 * 65_536;

const NEVER = Number.NEGATIVE_INFINITY;
/** Points in time, as elements: a field that holds a fraction is a new object each time it changes. */
const AT = { longSince: 0, lastLong: 1, together: 2 } as const;

export class Turns {
  /** Sessions take turns now. */
  taken = false;
  readonly #at = new Float64Array(3).fill(NEVER);
  #slot = -1;

  /**
   * Superpackets have been looked up. @param blocked the socket takes nothing for now @param waits something waits at the pacer
   * @returns bytes that may go on to lanes.seal
   */
  vector(now: Micros, superpackets: Batch, blocked: boolean, waits: boolean): number {
    const at = this.#at;
    const count = superpackets.header[HEADER.count];
    const long = blocked || count >= VECTOR;
    if (!long) at[AT.longSince] = NEVER;
    else {
      if (at[AT.longSince] === NEVER) at[AT.longSince] = now;
      at[AT.lastLong] = now;
    }
    if (count > 0) this.#look(now, superpackets, count);
    if (this.taken) this.taken = waits || now - at[AT.lastLong] < OVER;
    else this.taken = long && now - at[AT.longSince] >= LONG && now - at[AT.together] < TOGETHER;
    if (!this.taken) return UNLIMITED;
    return blocked ? 0 : TURN_BYTES;
  }

  #look(now: Micros, { slot }: Batch, count: number): void {
    for (let i = 0; i < count; i++) {
      if (slot[i] === this.#slot || slot[i] < 0) continue;
      if (this.#slot >= 0) this.#at[AT.together] = now;
      this.#slot = slot[i];
    }
  }
}
