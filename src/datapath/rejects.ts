/** Who sends an id that nobody has is told so (protocol specification §1.5), as often as a restarted server needs and a reflector does not. */
import { rejectDatagram } from '../wire/header.ts';
import { type Micros, SECOND } from '../wire/time.ts';
import { ADDRESS, type Batch, HEADER, Verdict } from './batch.ts';
import type { ControlCounters } from './control-counters.ts';

/** Per second and shard. */
const REJECTS_PER_SECOND = 200;

export class Rejects {
  readonly #counters: ControlCounters;
  #trainsSeen = 0;
  #since: Micros = 0;
  #sent = 0;

  constructor(counters: ControlCounters) {
    this.#counters = counters;
  }

  /** @param transmitTo sends a datagram to an address @returns how many trains there were to reject */
  answer(now: Micros, trains: Batch, transmitTo: (address: Uint8Array, datagram: Uint8Array) => void): number {
    const consumed = trains.header[HEADER.consumed];
    if (consumed < this.#trainsSeen) this.#trainsSeen = 0;
    let rejected = 0;
    for (let i = this.#trainsSeen; i < consumed; i++) {
      if (trains.verdict[i] !== Verdict.reject) continue;
      rejected++;
      if (now - this.#since > SECOND) {
        this.#since = now;
        this.#sent = 0;
      }
      if (this.#sent++ >= REJECTS_PER_SECOND) {
        this.#counters.rejectsHeld++;
        continue;
      }
      this.#counters.rejectsSent++;
      const from = i * ADDRESS.size;
      transmitTo(trains.address.slice(from, from + ADDRESS.size), rejectDatagram());
    }
    this.#trainsSeen = consumed === trains.header[HEADER.count] ? 0 : consumed;
    return rejected;
  }
}
