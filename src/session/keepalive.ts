// When a client sends keepalive Pings, and when it gives its server up (protocol specification §5.4). Servers only answer.

import type { Micros } from '../wire/time.ts';
import type { KeepaliveConfig } from './types.ts';

/** Nothing scheduled · the quiet time runs · a Ping is out, and is repeated every interval. */
export const KeepaliveState = { inactive: 0, waiting: 1, pending: 2 } as const;

const NEVER = Number.POSITIVE_INFINITY;

export class Keepalive {
  state: number = KeepaliveState.inactive;
  /** When the next Ping is due. */
  pingDeadline: Micros = NEVER;
  /** When the server is given up. Runs from the first Ping that nothing at all has followed. */
  timeoutDeadline: Micros = NEVER;
  /** When something last came from the server. */
  lastReceived: Micros = 0;
  /** The `lastReceived` a tracer Ping has been sent for: one each (§5.4). */
  tracedReceived: Micros = -1;

  get deadline(): Micros {
    return Math.min(this.pingDeadline, this.timeoutDeadline);
  }

  online(now: Micros, config: KeepaliveConfig): void {
    this.lastReceived = now;
    if (config.continuous) this.#wait(now, config);
  }

  /** Something came: the server is there. @returns whether this called off a timeout */
  received(now: Micros, config: KeepaliveConfig): boolean {
    if (now < this.lastReceived) return false; // the bulk path reports late what was heard before a frame
    const relieved = this.timeoutDeadline !== NEVER;
    this.lastReceived = now;
    this.timeoutDeadline = NEVER;
    if (this.state !== KeepaliveState.inactive) this.pingDeadline = now + config.interval;
    return relieved;
  }

  /** The answer to a Ping came. */
  pong(now: Micros, config: KeepaliveConfig): void {
    this.timeoutDeadline = NEVER;
    if (config.continuous) {
      this.#wait(now, config);
      return;
    }
    this.state = KeepaliveState.inactive;
    this.pingDeadline = NEVER;
  }

  /** @returns what is due */
  advance(now: Micros, config: KeepaliveConfig): 'ping' | 'timeout' | undefined {
    if (now >= this.timeoutDeadline) return 'timeout';
    if (now < this.pingDeadline) return undefined;
    this.pinged(now, config);
    return 'ping';
  }

  /** A Ping is on its way, due or demanded. */
  pinged(now: Micros, config: KeepaliveConfig): void {
    this.state = KeepaliveState.pending;
    this.pingDeadline = now + config.interval;
    if (this.timeoutDeadline === NEVER) this.timeoutDeadline = now + config.timeout;
  }

  /** The network under the client changed: whatever was waited for may be lost with the old one. */
  demanded(now: Micros, config: KeepaliveConfig): void {
    this.timeoutDeadline = NEVER;
    this.pinged(now, config);
  }

  /** An inner packet leaves. @returns whether a Ping has to find out if anybody still listens */
  trace(now: Micros, config: KeepaliveConfig): boolean {
    if (config.continuous || this.state === KeepaliveState.pending) return false;
    if (this.tracedReceived === this.lastReceived || now - this.lastReceived <= config.tracerTimeout) return false;
    this.tracedReceived = this.lastReceived;
    this.pinged(now, config);
    return true;
  }

  #wait(now: Micros, config: KeepaliveConfig): void {
    this.state = KeepaliveState.waiting;
    this.pingDeadline = now + config.interval;
  }
}
