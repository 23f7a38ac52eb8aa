/**
 * The doors of a shard: sockets beside its own, where steering brings datagrams whose header names no session (native/steering/udp.cc). One
 * for handshakes that go on, one for strangers: first ClientHellos, and what is no Lightway of ours; and one for what comes under a session's id, or
 * nobody's, while that is flooded, and cannot be judged by its number (native/steering/sorter.cc). What is behind them is read as far as its
 * share of the time goes, and not looked at meanwhile; what they cannot hold the kernel drops and counts. So no flood of strangers stands in a queue
 * with sessions, and a handshake under way does not stand in one with first ClientHellos.
 */
import type { Addon, PortHandle } from '../native/index.ts';
import { type Micros, MS } from '../wire/time.ts';
import { HEADER } from './batch.ts';
import { DOOR_VECTOR, SUSPECTS_VECTOR } from './batches.ts';
import { ControlShare, SUSPECTS_SHARE } from './control-share.ts';
import type { Path } from './path.ts';

/** The bit of wait() that the first door has. */
const READY = 16;
const HANDSHAKES = 0;
const STRANGERS = 1;
const SUSPECTS = 2;
/** Strangers last: `strangersFrom` is where they begin. */
const ORDER = [HANDSHAKES, SUSPECTS, STRANGERS];
const VECTORS = [DOOR_VECTOR, DOOR_VECTOR, SUSPECTS_VECTOR];
/** How long a door is left alone that had more than was taken: a flood must not cut the sessions' vectors short by making every turn a busy one. */
const RESTS: readonly Micros[] = [MS / 4, MS, 4 * MS];

export class Doors {
  readonly #addon: Addon;
  readonly #port: PortHandle;
  readonly #shares: readonly ControlShare[];
  /** Until when each door rests. */
  readonly #rests = new Float64Array(RESTS.length);
  #watched = 0;

  /** @param shares of handshakes and strangers; none where there are no doors */
  constructor(addon: Addon, port: PortHandle, shares: readonly ControlShare[]) {
    this.#addon = addon;
    this.#port = port;
    this.#shares = shares.length === 0 ? [] : [...shares, new ControlShare(SUSPECTS_SHARE)];
  }

  /** A turn begins: doors that rest, or whose share is spent, are left alone. @param handshakes whether there is time for more of those */
  begin(handshakes: boolean): void {
    if (this.#shares.length === 0) return;
    const now = this.#addon.monotonicMicros(); // the clock of the shares, whatever the shard's is
    let watched = 0;
    for (let door = 0; door < this.#shares.length; door++)
      if ((handshakes || door !== HANDSHAKES) && now >= this.#rests[door] && this.#shares[door].isOpen(now))
        watched |= 1 << door;
    if (watched === this.#watched) return;
    this.#watched = watched;
    this.#addon.watchDoors(this.#port, watched);
  }

  /** Appends what waits behind the doors to the vector, strangers last. */
  receive({ ready, batches, control }: Path): void {
    control.strangersFrom = Number.POSITIVE_INFINITY;
    control.fromDoors = 0;
    const { header } = batches.trainsIn;
    if (ready < READY) return;
    for (const door of ORDER) {
      if ((ready & (READY << door)) === 0) continue;
      if (door === STRANGERS) control.strangersFrom = header[HEADER.count];
      const began = this.#addon.monotonicMicros();
      const share = this.#shares[door];
      const limit = Math.min(VECTORS[door], share.begin(began));
      const before = header[HEADER.count];
      const received = this.#addon.doorReceive(this.#port, door, limit);
      const now = this.#addon.monotonicMicros();
      if (door !== SUSPECTS) {
        control.fromDoors += header[HEADER.count] - before;
        share.charge(received, now - began);
      } else share.spend(now - began, Math.max(1, received)); // no strangers: nobody measures what answering them takes
      if (received >= limit) this.#rests[door] = now + RESTS[door];
    }
  }

  /** When a door that is left alone now will be looked at again. */
  nextDeadline(): Micros | undefined {
    let next: Micros | undefined;
    for (let door = 0; door < this.#shares.length; door++) {
      if (this.#watched & (1 << door)) continue;
      const opens = Math.max(this.#rests[door], this.#shares[door].opensAt ?? 0);
      next = Math.min(next ?? opens, opens);
    }
    return next;
  }
}
