/** Messages that are sent, and repeated, together until the peer shows that it has them (RFC 9147 §5.7, §5.8, §7). */
import { type Micros, MS } from '../wire/time.ts';
import type { RecordNumber } from './messages.ts';

/** 100, 200 ... 6,400 ms: 12.7 s in all, when the stock peers give up too (protocol specification §2.9). */
const FIRST_WAIT: Micros = 100 * MS;
const MAX_REPEATS = 6;
/** Record numbers remembered per fragment; an ACK of a still older copy only fails to stop a repeat. */
const MAX_COPIES = 8;

/** One fragment: the unit of repeating and of acknowledgement. */
export interface Piece {
  readonly epoch: number;
  /** Handshake bytes with their 12-byte header. */
  readonly fragment: Uint8Array;
  /** Numbers it went out under, oldest first. */
  readonly copies: RecordNumber[];
}

export class Flight {
  #open: Piece[] = [];

  add(epoch: number, fragment: Uint8Array, copies: RecordNumber[] = []): Piece {
    const piece: Piece = { epoch, fragment, copies };
    this.#open.push(piece);
    return piece;
  }

  /** What the peer may still lack, in order. */
  get open(): readonly Piece[] {
    return this.#open;
  }

  get isEmpty(): boolean {
    return this.#open.length === 0;
  }

  /** Remembers that the piece left as this record. */
  sent(piece: Piece, number: RecordNumber): void {
    piece.copies.push(number);
    if (piece.copies.length > MAX_COPIES) piece.copies.shift();
  }

  /** @returns whether anything new was acknowledged */
  acknowledge(records: readonly RecordNumber[]): boolean {
    const before = this.#open.length;
    const covered = (copy: RecordNumber): boolean =>
      records.some((record) => record.epoch === copy.epoch && record.sequence === copy.sequence);
    this.#open = this.#open.filter((piece) => !piece.copies.some(covered));
    return this.#open.length < before;
  }

  /** The peer's next flight has begun, which acknowledges all of this one. */
  clear(): void {
    this.#open = [];
  }
}

/** When to repeat, and when to give up. */
export class RepeatTimer {
  #repeats = 0;
  #deadline: Micros | undefined;

  get deadline(): Micros | undefined {
    return this.#deadline;
  }

  /** Repeats so far, for the snapshot. */
  get repeats(): number {
    return this.#repeats;
  }

  /** A flight leaves, or the peer made progress: the first wait again. */
  start(now: Micros): void {
    this.#repeats = 0;
    this.#deadline = now + FIRST_WAIT;
  }

  stop(): void {
    this.#deadline = undefined;
  }

  restore(repeats: number, deadline: Micros): void {
    this.#repeats = repeats;
    this.#deadline = deadline;
  }

  /** The wait is over. @returns false once the last wait is over as well */
  expire(now: Micros): boolean {
    if (this.#repeats === MAX_REPEATS) {
      this.#deadline = undefined;
      return false;
    }
    this.#repeats++;
    this.#deadline = now + FIRST_WAIT * 2 ** this.#repeats;
    return true;
  }
}
