/**
 * The strangers' share of a shard: a fifth of the time, so that floods of them cannot starve packets, nor packets them. Only what nobody
 * has proved is held to it: datagrams without a session, and plaintext for sessions that are established. Opened records always get through,
 * and so do handshakes under way, which a cookie has let in.
 *
 * It holds whether or not the shard looks busy: where a flood and a shard take turns on one CPU, the socket is found empty after every burst.
 */
import type { Micros } from '../wire/time.ts';

/** Of the time (docs/architecture.md, a shard's turn). */
const SHARE = 1 / 5;
/** Most that can be saved up: what a burst may take in one go, and so the delay it may cause. Full after 10 ms of silence. */
const MOST: Micros = 2_000;
/** What one datagram takes: a guess before the first is measured, and the bounds of the estimate. */
const FIRST_COST: Micros = 60;
const LEAST_COST: Micros = 5;
const MOST_COST: Micros = 250;
/** The most that is charged for one: a collection in between, or another process, is not its fault. */
const MOST_CHARGE: Micros = 500;
/** Weight of the newest measurement. */
const WEIGHT = 1 / 8;

/** Places in `#numbers`: a field that holds a fraction is a new object each time it changes. */
const CREDIT = 0;
const SINCE = 1;
const COST = 2;

export class ControlShare {
  readonly #numbers = Float64Array.of(MOST, Number.NEGATIVE_INFINITY, FIRST_COST);

  /** A vector begins. @param now of the clock that measures what is spent @returns how many strangers may be heard */
  begin(now: Micros): number {
    const numbers = this.#numbers;
    numbers[CREDIT] = Math.min(MOST, numbers[CREDIT] + (now - numbers[SINCE]) * SHARE);
    numbers[SINCE] = now;
    return Math.max(0, Math.floor(numbers[CREDIT] / numbers[COST]));
  }

  /** Whether another one may be heard, of those that `begin` has not counted. */
  get open(): boolean {
    return this.#numbers[CREDIT] > 0;
  }

  /** One unproven datagram took `micros`. */
  spend(micros: Micros): void {
    const numbers = this.#numbers;
    numbers[CREDIT] -= Math.min(MOST_CHARGE, micros);
    numbers[COST] += (Math.min(MOST_COST, Math.max(LEAST_COST, micros)) - numbers[COST]) * WEIGHT;
  }

  /** Sending `answers` took `micros`: where a network device is another process's memory, that can be more than making them. */
  answered(answers: number, micros: Micros): void {
    this.#numbers[CREDIT] -= Math.min(answers * MOST_CHARGE, micros);
  }
}
