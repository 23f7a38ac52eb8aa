/** Which records to acknowledge, and when (RFC 9147 §7.1). */
import { type Micros, MS } from '../wire/time.ts';
import type { RecordNumber } from './messages.ts';

/** A quarter of the first wait: a hole in the peer's flight is reported before the peer repeats all of it. */
const QUICK_WAIT: Micros = 25 * MS;
/** Records named in one ACK: the newest. */
const MAX_NAMED = 64;

export class Acknowledgement {
  #records: RecordNumber[] = [];
  #deadline: Micros | undefined;

  /** When what was received has waited long enough for the rest of its flight. */
  get deadline(): Micros | undefined {
    return this.#deadline;
  }

  get isEmpty(): boolean {
    return this.#records.length === 0;
  }

  /** A record whose messages were used or are held. */
  received(now: Micros, record: RecordNumber): void {
    this.#records.push(record);
    if (this.#records.length > MAX_NAMED) this.#records.shift();
    this.#deadline ??= now + QUICK_WAIT;
  }

  /** All records of the flight under way, ascending as RFC 9147 §7 wants them. They stay listed until `forget`. */
  report(): RecordNumber[] {
    this.#deadline = undefined;
    return [...this.#records].sort((a, b) => a.epoch - b.epoch || a.sequence - b.sequence);
  }

  /** The flight is whole and answered, or acknowledged for good. */
  forget(): void {
    this.#records = [];
    this.#deadline = undefined;
  }
}
