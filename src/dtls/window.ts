/** Replay window of one receive epoch (RFC 9147 §4.5.1): the 64 numbers up to the newest, as stock peers keep. */

export const WINDOW_SIZE = 64;

export class ReplayWindow {
  #newest = -1;
  /** Bit i: number `newest - i` was seen. Two halves, since bitwise operators see 32 bits. */
  #low = 0;
  #high = 0;

  /** Next expected number: one past the newest. */
  get next(): number {
    return this.#newest + 1;
  }

  /** Whether the number would be new. Older than the window counts as seen. */
  isNew(sequence: number): boolean {
    const age = this.#newest - sequence;
    if (age < 0) return true;
    if (age >= WINDOW_SIZE) return false;
    return ((age < 32 ? this.#low >>> age : this.#high >>> (age - 32)) & 1) === 0;
  }

  /** Marks a number whose record was authentic. */
  mark(sequence: number): void {
    const age = this.#newest - sequence;
    if (age < 0) {
      this.#shift(-age);
      this.#newest = sequence;
      this.#low |= 1;
    } else if (age < 32) {
      this.#low |= 1 << age;
    } else if (age < WINDOW_SIZE) {
      this.#high |= 1 << (age - 32);
    }
  }

  #shift(by: number): void {
    if (by >= WINDOW_SIZE) {
      this.#low = 0;
      this.#high = 0;
    } else if (by >= 32) {
      this.#high = by === 32 ? this.#low : this.#low << (by - 32);
      this.#low = 0;
    } else {
      this.#high = (this.#high << by) | (this.#low >>> (32 - by));
      this.#low <<= by;
    }
  }
}
