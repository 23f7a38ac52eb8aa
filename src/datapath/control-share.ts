/**
 * session.control's share of a shard: a fifth of the time, so that neither handshakes nor floods of strangers can starve packets. Only what
 * nobody has proved is held to it (datagrams without a session, and datagrams of a session that its keys did not open); opened records
 * always get through. As long as the socket is drained there is nothing to starve, and no limit.
 */
import type { Micros } from '../wire/time.ts';
import { NO_LIMIT } from './limits.ts';

/** Of the time, when both sides want all of it (docs/architecture.md, a shard's turn). */
const SHARE = 1 / 5;
/** Most that can be saved up: what a burst may take in one go, and so the delay it may cause. */
const MOST: Micros = 1_000;
/** Handshakes under way go first: strangers leave them this much. */
const RESERVE: Micros = 250;
/** What one stranger takes: a guess before the first is measured, and the bounds of belief (a collection in between is not its fault). */
const FIRST_COST: Micros = 60;
const LEAST_COST: Micros = 5;
const MOST_COST: Micros = 200;
/** Weight of the newest measurement. */
const WEIGHT = 1 / 8;

export class ControlShare {
  #credit: Micros = MOST;
  #since: Micros = Number.NEGATIVE_INFINITY;
  #cost: Micros = FIRST_COST;
  #pressed = false;

  /** A vector begins. @param pressed more waits in the socket @returns how many strangers may be heard: a number, or NO_LIMIT */
  begin(now: Micros, pressed: boolean): number {
    this.#pressed = pressed;
    this.#credit = pressed ? Math.min(MOST, this.#credit + Math.max(0, now - this.#since) * SHARE) : MOST;
    this.#since = now;
    if (!pressed) return NO_LIMIT;
    return Math.max(0, Math.floor((this.#credit - RESERVE) / this.#cost));
  }

  /** Whether the next unproven datagram of a session may be heard. */
  get open(): boolean {
    return !this.#pressed || this.#credit > 0;
  }

  /** `heard` unproven datagrams took `micros`. */
  spend(heard: number, micros: Micros): void {
    if (heard === 0) return;
    this.#credit -= micros;
    const cost = Math.min(MOST_COST, Math.max(LEAST_COST, micros / heard));
    this.#cost += (cost - this.#cost) * WEIGHT;
  }
}
