/**
 * What one session may receive while its shard is overloaded. A shard that cannot keep up lets the socket fill and overflow: everybody's
 * datagrams wait behind those of who sends the most, and are dropped alike. So from the moment they wait long, sessions above their fair share
 * (max-min: what those below leave over is divided equally among those above) lose the excess unopened. The level follows how long
 * datagrams wait, so that the socket is neither empty nor long: the kernel stamps arrivals while the socket is never found empty, and only then.
 */
import type { Addon, PortHandle } from '../native/index.ts';
import type { Micros } from '../wire/time.ts';
import { ARRIVAL, LIMIT, type Limits, NO_LIMIT } from './limits.ts';

/** How long a level is kept: holds a few trains of every busy session. */
export const INTERVAL: Micros = 10_000;
const TICK: Micros = 1_000;
/** What datagrams may wait in the socket: a few turns' work, and no delay to notice (CoDel's target, RFC 8289 §4.2). */
const TARGET: Micros = 5_000;
/** Of what the shard has taken in when overloaded, so that the socket's backlog drains too. */
const BEGIN = 0.8;
/**
 * How much the level changes an interval for each TARGET that the wait is off, and for each that it has grown, as in PIE (RFC 8033 §4.2):
 * without the second the level would swing, as a queue already is the sum of what was too much.
 */
const OFF = 0.02;
const GROWN = 0.1;
/** And how much at most, down and up. */
const SINK = 0.85;
const RISE = 1.05;
/** What a wait counts for at most, and when the kernel drops. */
const LONGEST: Micros = 8 * TARGET;
/** Without an overload, arrivals go on being stamped for so long. */
const STAMP: Micros = 1_000_000;
/** After so long without anybody above the level there is none. */
const CALM: Micros = 500_000;
/** Two sessions in so much time: there is somebody to be fair to. */
const TOGETHER: Micros = 100_000;
/** Who there is besides is asked so often while the socket is never empty. */
const LOOK: Micros = 50_000;
/** A level never sinks below 10 Mbit/s: 1,250 bytes a tick. */
const LEAST_RATE = 1_250;

/** What a shard's socket can tell. */
export interface Backlog {
  /** Datagrams the kernel has dropped there so far. */
  lost(): number;
  /** From now on arrivals are stamped, or no longer. */
  stamp(on: boolean): void;
  /** How long the first datagram of the vector had waited; negative when it was not stamped. */
  delay(): Micros;
}

/** Points in time, and a wait, as elements: a field that holds a fraction is a new object each time it changes. */
const AT = { began: 0, shortest: 1, lookAt: 2, waitBefore: 3, calmSince: 4, together: 5 } as const;
const NEVER = Number.NEGATIVE_INFINITY;

export class FairShare {
  readonly #limits: Uint32Array;
  readonly #arrivals: Uint32Array;
  readonly #backlog: Backlog;
  readonly #at = Float64Array.of(NEVER, Infinity, NEVER, 0, NEVER, NEVER);
  #drained = false;
  #stamped = false;
  #lostBefore = 0;
  #level = NO_LIMIT;
  /** Arrivals of the sessions of one interval, to sort. Grows to the busiest interval there was. */
  #demands = new Float64Array(64);

  constructor({ limits, arrivals }: Limits, backlog: Backlog) {
    this.#limits = limits;
    this.#arrivals = arrivals;
    this.#backlog = backlog;
  }

  /** Bytes a session may receive in a millisecond now, or NO_LIMIT. */
  get level(): number {
    return this.#level;
  }

  /** Arrivals are stamped: the next vector's delay counts. */
  get stamped(): boolean {
    return this.#stamped;
  }

  /** A vector has been received. @param drained nothing more waits in the socket */
  vector(now: Micros, drained: boolean): void {
    const limits = this.#limits;
    const at = this.#at;
    if (drained) this.#drained = true;
    else if (this.#stamped) this.#waited(this.#backlog.delay());
    limits[LIMIT.tick] = Math.floor(now / TICK); // modulo 2^32
    const passed = now - at[AT.began];
    if (passed < INTERVAL) return;
    this.#end(now, passed);
    at[AT.began] = now;
    at[AT.shortest] = Infinity;
    this.#drained = drained;
    limits[LIMIT.interval]++;
    limits[LIMIT.rate] = this.#level;
  }

  #waited(delay: Micros): void {
    if (delay >= 0) this.#at[AT.shortest] = Math.min(this.#at[AT.shortest], delay);
  }

  #end(now: Micros, passed: Micros): void {
    const limited = this.#level !== NO_LIMIT;
    this.#stamp(now, !this.#drained || limited);
    if (!this.#stamped || (this.#drained && !limited)) return;
    const wait = this.#wait();
    if (limited) this.#adjust(now, wait, passed);
    else if (wait > TARGET && passed < 2 * INTERVAL) {
      this.#level = this.#first(passed);
      this.#at[AT.waitBefore] = wait;
      this.#at[AT.calmSince] = this.#at[AT.together] = now;
    }
  }

  #stamp(now: Micros, wanted: boolean): void {
    const at = this.#at;
    if (this.#stamped) {
      if (wanted) at[AT.lookAt] = now + STAMP;
      if (now < at[AT.lookAt]) return;
    } else {
      if (!wanted || now < at[AT.lookAt]) return;
      at[AT.lookAt] = now + LOOK;
      if (this.#gather() < 2) return; // nobody to be fair to
      this.#lostBefore = this.#backlog.lost();
    }
    this.#stamped = !this.#stamped;
    this.#backlog.stamp(this.#stamped);
  }

  /** The shortest wait of the interval: what comes in bursts is no backlog. */
  #wait(): Micros {
    const lost = this.#backlog.lost();
    const losing = lost > this.#lostBefore;
    this.#lostBefore = lost;
    if (losing) return LONGEST;
    const shortest = this.#at[AT.shortest];
    return this.#drained || shortest === Infinity ? 0 : Math.min(shortest, LONGEST);
  }

  #adjust(now: Micros, wait: Micros, passed: Micros): void {
    const at = this.#at;
    const off = (wait - TARGET) / TARGET;
    const grown = (wait - at[AT.waitBefore]) / TARGET;
    at[AT.waitBefore] = wait;
    const change = wait === 0 ? RISE : Math.max(SINK, Math.min(RISE, 1 - OFF * off - GROWN * grown));
    const count = this.#gather();
    let most = 0;
    for (let i = 0; i < count; i++) most = Math.max(most, this.#demands[i]);
    const asked = (most * TICK) / passed;
    // a level nobody reaches stays where it was: who was greedy may only be resting
    if (change < 1 || asked > this.#level) this.#level = Math.max(LEAST_RATE, Math.ceil(this.#level * change));
    if (off >= 0 || asked >= this.#level) at[AT.calmSince] = now;
    if (count >= 2) at[AT.together] = now;
    const over = now - at[AT.calmSince] >= CALM || now - at[AT.together] >= TOGETHER || passed >= TOGETHER;
    if (over) this.#level = NO_LIMIT;
  }

  /** The fair level for a part of what has arrived; none where there is nobody to be fair to. */
  #first(passed: Micros): number {
    const count = this.#gather();
    if (count < 2) return NO_LIMIT;
    const demands = this.#demands.subarray(0, count).sort();
    let left = 0;
    for (const demand of demands) left += demand;
    left *= BEGIN;
    for (let i = 0; i < count; i++) {
      const fair = left / (count - i);
      if (demands[i] > fair) return Math.max(LEAST_RATE, Math.floor((fair * TICK) / passed));
      left -= demands[i];
    }
    return NO_LIMIT;
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

/** Of a shard that receives at this port. */
export function fairShareOf(addon: Addon, lanes: ReturnType<Addon['createLanes']>, port: PortHandle): FairShare {
  return new FairShare(lanes, {
    lost: () => addon.portCounters(port).socketDrops,
    stamp: (on) => addon.stampArrivals(port, on),
    delay: () => addon.arrivalDelay(port),
  });
}
