/**
 * What nobody has proved has a share of a shard's time, so that floods cannot starve packets, nor packets those who want to log in: datagrams
 * without a session, and hellos from the addresses of those established. Opened records always get through, and so do handshakes under way, which
 * a cookie has let in. Where strangers have a door of their own (doors.ts), first ClientHellos have a smaller share for themselves.
 *
 * It holds whether or not the shard looks busy: where a flood and a shard take turns on one CPU, the socket is found empty after every burst.
 */
import type { Micros } from '../wire/time.ts';

/** Of the time (docs/architecture.md, a shard's turn). */
const SHARE = 1 / 5;
/** Of strangers with a door of their own: enough for thousands a second, and no more than established sessions can spare (docs/decisions/0011). */
export const STRANGERS_SHARE = 1 / 20;
/** Of datagrams that a flood has made suspect (docs/decisions/0022). */
export const SUSPECTS_SHARE = 1 / 20;
/** Most that can be saved up: what a burst may take in one go, and so the delay it may cause. Full after 10 ms of silence. */
const MOST: Micros = 2_000;
/** What one datagram takes: a guess before the first is measured, and the bounds of the estimate. */
const FIRST_COST: Micros = 60;
const LEAST_COST: Micros = 1;
const MOST_COST: Micros = 250;
/** The most that is charged for one: a collection in between, or another process, is not its fault. */
const MOST_CHARGE: Micros = 500;
/** What must be saved up before more are heard when all has been spent: they are cheaper by the dozen. */
const ENOUGH: Micros = 500;
/** Weight of the newest measurement. */
const WEIGHT = 1 / 8;

/** Places in `#numbers`: a field that holds a fraction is a new object each time it changes. */
const CREDIT = 0;
const SINCE = 1;
const COST = 2;

export class ControlShare {
  readonly #share: number;
  readonly #numbers = Float64Array.of(MOST, Number.NEGATIVE_INFINITY, FIRST_COST);
  #spent = false;

  /** @param share of the time */
  constructor(share = SHARE) {
    this.#share = share;
  }

  /** A vector begins. @param now of the clock that measures what is spent @returns how many strangers may be heard */
  begin(now: Micros): number {
    this.#save(now);
    return Math.max(0, Math.floor(this.#numbers[CREDIT] / this.#numbers[COST]));
  }

  /** Whether it is worth while to look for any: when all is spent, not before enough is saved up. */
  isOpen(now: Micros): boolean {
    this.#save(now);
    this.#spent = this.#numbers[CREDIT] < (this.#spent ? ENOUGH : this.#numbers[COST]);
    return !this.#spent;
  }

  /** When `isOpen` will be true again; undefined when it is. */
  get opensAt(): Micros | undefined {
    if (!this.#spent) return undefined;
    return this.#numbers[SINCE] + (ENOUGH - this.#numbers[CREDIT]) / this.#share;
  }

  #save(now: Micros): void {
    const numbers = this.#numbers;
    numbers[CREDIT] = Math.min(MOST, numbers[CREDIT] + (now - numbers[SINCE]) * this.#share);
    numbers[SINCE] = now;
  }

  /** Whether another one may be heard, of those that `begin` has not counted. */
  get open(): boolean {
    return this.#numbers[CREDIT] > 0;
  }

  /** So many unproven datagrams took `micros`. */
  spend(micros: Micros, datagrams = 1): void {
    const numbers = this.#numbers;
    const each = Math.min(MOST_COST, Math.max(LEAST_COST, micros / datagrams));
    numbers[CREDIT] -= Math.min(datagrams * MOST_CHARGE, micros);
    numbers[COST] += (each - numbers[COST]) * (1 - (1 - WEIGHT) ** datagrams);
  }

  /** Receiving so many, or sending answers to them, took `micros`: where a network device is another process's memory, that can be more than making them. */
  charge(datagrams: number, micros: Micros): void {
    this.#numbers[CREDIT] -= Math.min(datagrams * MOST_CHARGE, micros);
  }
}
