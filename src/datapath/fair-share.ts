/**
 * What one session may receive while its shard is overloaded. A shard that cannot keep up lets the socket overflow, and an overflowing socket
 * drops everybody's datagrams alike. So from the moment the kernel begins to drop, sessions above their fair share (max-min: what those
 * below leave over is divided equally among those above) lose the excess unopened, and the level sinks until the socket is drained again.
 */
import type { Micros } from '../wire/time.ts';
import { ARRIVAL, LIMIT, type Limits, NO_LIMIT } from './limits.ts';

/** How long a level is kept: holds a few trains of every busy session. */
export const INTERVAL: Micros = 10_000;
const TICK: Micros = 1_000;
/** Of what the shard has taken in when overloaded, so that the socket's backlog drains too. */
const TARGET = 0.8;
const SINK = 0.85;
const RISE = 1.02;
/** A level never sinks below 10 Mbit/s: 1,250 bytes a tick. */
const LEAST_RATE = 1_250;

export class FairShare {
  readonly #limits: Uint32Array;
  readonly #arrivals: Uint32Array;
  /** What the kernel has dropped so far. */
  readonly #lost: () => number;
  /** When the interval began: an element, as a field that holds a fraction is a new object each time it changes. */
  readonly #began = Float64Array.of(Number.NEGATIVE_INFINITY);
  #drained = false;
  #lostBefore = 0;
  #level = NO_LIMIT;
  /** Arrivals of the sessions of one interval, to sort. Grows to the busiest interval there was. */
  #demands = new Float64Array(64);

  constructor({ limits, arrivals }: Limits, lost: () => number) {
    this.#limits = limits;
    this.#arrivals = arrivals;
    this.#lost = lost;
  }

  /** Bytes a session may receive in a millisecond now, or NO_LIMIT. */
  get level(): number {
    return this.#level;
  }

  /** A vector has been received. @param drained nothing more waits in the socket */
  vector(now: Micros, drained: boolean): void {
    const limits = this.#limits;
    if (drained) this.#drained = true;
    limits[LIMIT.tick] = Math.floor(now / TICK); // modulo 2^32
    const passed = now - this.#began[0];
    if (passed < INTERVAL) return;
    this.#end(passed);
    this.#began[0] = now;
    this.#drained = drained;
    limits[LIMIT.interval]++;
    limits[LIMIT.rate] = this.#level;
  }

  #end(passed: Micros): void {
    const limited = this.#level !== NO_LIMIT;
    if (this.#drained && !limited) return;
    const lost = this.#lost();
    const losing = lost > this.#lostBefore;
    this.#lostBefore = lost;
    if (!limited) {
      if (losing && passed < 2 * INTERVAL) this.#level = this.#first(passed);
    } else if (losing || !this.#drained) {
      this.#level = Math.max(LEAST_RATE, Math.floor(this.#level * SINK));
    } else {
      this.#level = Math.ceil(this.#level * RISE);
      if (this.#level > (this.#most() * TICK) / passed) this.#level = NO_LIMIT;
    }
  }

  /** The fair level for a part of what has arrived; none where there is nobody to be fair to. */
  #first(passed: Micros): number {
    const count = this.#gather();
    if (count < 2) return NO_LIMIT;
    const demands = this.#demands.subarray(0, count).sort();
    let left = 0;
    for (const demand of demands) left += demand;
    left *= TARGET;
    for (let i = 0; i < count; i++) {
      const fair = left / (count - i);
      if (demands[i] > fair) return Math.max(LEAST_RATE, Math.floor((fair * TICK) / passed));
      left -= demands[i];
    }
    return NO_LIMIT;
  }

  #most(): number {
    const count = this.#gather();
    let most = 0;
    for (let i = 0; i < count; i++) most = Math.max(most, this.#demands[i]);
    return most;
  }

  /** Looks at every slot: once an interval at most, and only around an overload. @returns sessions that have received anything */
  #gather(): number {
    const interval = this.#limits[LIMIT.interval];
    const arrivals = this.#arrivals;
    let count = 0;
    for (let at = 0; at < arrivals.length; at += ARRIVAL.words) {
      const bytes = arrivals[at + ARRIVAL.bytes];
      if (arrivals[at + ARRIVAL.interval] !== interval || bytes === 0) continue;
      if (count === this.#demands.length) {
        const more = new Float64Array(2 * count);
        more.set(this.#demands);
        this.#demands = more;
      }
      this.#demands[count++] = bytes;
    }
    return count;
  }
}
