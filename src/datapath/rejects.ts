/** Who sends an id that nobody has is told so (protocol specification §1.5), as often as a restarted server needs and a reflector does not. */
import { rejectDatagram } from '../wire/header.ts';
import { type Micros, SECOND } from '../wire/time.ts';
import { ADDRESS, type Batch, HEADER, Verdict } from './batch.ts';
import type { ControlCounters } from './control-counters.ts';
import { LIMIT } from './limits.ts';

/** Per second and shard; `locate` counts and drops the others. */
const REJECTS_PER_SECOND = 200;

export class Rejects {
  readonly #counters: ControlCounters;
  readonly #limits: Uint32Array;
  #trainsSeen = 0;
  #deadline: Micros | undefined;

  /** @param limits of the lanes */
  constructor(counters: ControlCounters, limits: Uint32Array) {
    this.#counters = counters;
    this.#limits = limits;
    this.refill();
  }

  /** When to `refill`: a second after the first answer; undefined when none was given since the last time. */
  get deadline(): Micros | undefined {
    return this.#deadline;
  }

  /** Another second begins. */
  refill(): void {
    this.#limits[LIMIT.rejects] = REJECTS_PER_SECOND;
    this.#deadline = undefined;
  }

  /** @param transmitTo sends a datagram to an address @returns how many trains there were to reject */
  answer(now: Micros, trains: Batch, transmitTo: (address: Uint8Array, datagram: Uint8Array) => void): number {
    const consumed = trains.header[HEADER.consumed];
    if (consumed < this.#trainsSeen) this.#trainsSeen = 0;
    let rejected = 0;
    for (let i = this.#trainsSeen; i < consumed; i++) {
      if (trains.verdict[i] !== Verdict.reject) continue;
      rejected++;
      this.#counters.rejectsSent++;
      this.#deadline ??= now + SECOND;
      const from = i * ADDRESS.size;
      transmitTo(trains.address.slice(from, from + ADDRESS.size), rejectDatagram());
    }
    this.#trainsSeen = consumed === trains.header[HEADER.count] ? 0 : consumed;
    return rejected;
  }
}
