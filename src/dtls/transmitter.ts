/** The sending half of an endpoint: numbers messages, cuts them, repeats them until they are acknowledged; ACKs and alerts. */
import { type Micros, MS } from '../wire/time.ts';
import { Acknowledgement } from './acknowledgement.ts';
import { encodeAlert } from './alerts.ts';
import type { Output } from './events.ts';
import { Flight, type Piece, RepeatTimer } from './flight.ts';
import { encodeFragments, FRAGMENT_HEADER } from './handshake.ts';
import { encodeAck, type RecordNumber } from './messages.ts';
import type { RecordProtection } from './protection.ts';
import { ContentType, encodePlaintext, PLAINTEXT_HEADER } from './records.ts';

/** Header of a protected record with content type and tag. */
const PROTECTED_OVERHEAD = 22;
/** A flight is not repeated on the peer's wish more often than this (protocol specification §2.9). */
const MIN_REPEAT_GAP: Micros = 100 * MS;
/** Nor on a partial ACK: a hole it shows may be younger than the round trip otherwise. */
const MIN_ACK_GAP: Micros = 20 * MS;

export type MessageParts = readonly [type: number, body: Uint8Array];

export class Transmitter {
  /** Newest send epoch; 0 is plaintext. */
  epoch = 0;
  /** message_seq of the next message. */
  nextMessage: number;
  /** Number of the next plaintext record. */
  plainSequence = 0;
  readonly flight = new Flight();
  readonly timer = new RepeatTimer();
  readonly acknowledgement = new Acknowledgement();
  readonly #protection: RecordProtection;
  readonly #mtu: number;
  readonly #emit: (output: Output) => void;
  #sentAt: Micros = Number.NEGATIVE_INFINITY;

  constructor(protection: RecordProtection, mtu: number, nextMessage: number, emit: (output: Output) => void) {
    this.#protection = protection;
    this.#mtu = mtu;
    this.nextMessage = nextMessage;
    this.#emit = emit;
  }

  get deadline(): Micros | undefined {
    const [acknowledge, repeat] = [this.acknowledgement.deadline, this.timer.deadline];
    if (acknowledge === undefined || repeat === undefined) return acknowledge ?? repeat;
    return Math.min(acknowledge, repeat);
  }

  /** Adds messages to the flight and sends them. @param whole keeps each in one fragment whatever the MTU */
  send(now: Micros, epoch: number, messages: readonly MessageParts[], whole = false): void {
    const limit = this.#mtu - FRAGMENT_HEADER - (epoch === 0 ? PLAINTEXT_HEADER : PROTECTED_OVERHEAD);
    for (const [type, body] of messages) {
      const message = { type, sequence: this.nextMessage++, body };
      for (const fragment of encodeFragments(message, whole ? Math.max(body.length, 1) : limit)) {
        this.#transmit(this.flight.add(epoch, fragment));
      }
    }
    this.#sentAt = now;
    this.timer.start(now);
  }

  /** The peer has gone on: nothing of the flight needs repeating, and the wait begins anew. */
  answered(now: Micros): void {
    this.flight.clear();
    this.timer.start(now);
  }

  repeat(now: Micros): void {
    if (this.flight.isEmpty) return;
    for (const piece of this.flight.open) this.#transmit(piece);
    this.#sentAt = now;
  }

  /** The peer repeats itself: it may lack our flight. */
  repeatOnWish(now: Micros): void {
    if (now - this.#sentAt >= MIN_REPEAT_GAP) this.repeat(now);
  }

  /** @returns whether that was the last of the flight */
  acknowledged(now: Micros, records: readonly RecordNumber[]): boolean {
    if (!this.flight.acknowledge(records)) return false;
    if (this.flight.isEmpty) {
      this.timer.stop();
      return true;
    }
    this.timer.start(now);
    if (now - this.#sentAt >= MIN_ACK_GAP) this.repeat(now);
    return false;
  }

  sendAck(): void {
    const records = this.acknowledgement.report();
    if (records.length > 0 && this.epoch > 0) this.seal(this.epoch, ContentType.ack, encodeAck(records));
  }

  sendAlert(description: number): void {
    const content = encodeAlert(description);
    if (this.epoch === 0) this.#sendPlaintext(ContentType.alert, content);
    else this.seal(this.epoch, ContentType.alert, content);
  }

  /** @returns the record's number */
  seal(epoch: number, contentType: number, content: Uint8Array): number {
    const { bytes, sequence } = this.#protection.seal(epoch, contentType, content);
    this.#emit({ kind: 'datagram', bytes });
    return sequence;
  }

  #transmit(piece: Piece): void {
    const { epoch, fragment } = piece;
    const type = ContentType.handshake;
    const sequence = epoch === 0 ? this.#sendPlaintext(type, fragment) : this.seal(epoch, type, fragment);
    this.flight.sent(piece, { epoch, sequence });
  }

  #sendPlaintext(contentType: number, content: Uint8Array): number {
    const sequence = this.plainSequence++;
    this.#emit({ kind: 'datagram', bytes: encodePlaintext(contentType, sequence, content) });
    return sequence;
  }
}
