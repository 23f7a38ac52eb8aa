/**
 * What server and client share: records in and out, order and repetition of messages, acknowledgement, alerts. The
 * handshake itself is in `server.ts` and `client.ts`, what follows it in `key-update.ts`.
 */
import type { CryptoTask, TaskResult } from '../crypto/tasks.ts';
import type { Secret, Vault } from '../crypto/vault.ts';
import { type Micros, MS, type Random } from '../wire/time.ts';
import { Acknowledgement } from './acknowledgement.ts';
import { Alert, DtlsError, decodeAlert, encodeAlert } from './alerts.ts';
import { type CloseCode, DTLS_DROPS, DtlsDrop, type Endpoint, type EndpointOptions, type Output } from './events.ts';
import { Flight, type Piece, RepeatTimer } from './flight.ts';
import {
  decodeFragments,
  encodeFragments,
  epochClass,
  FRAGMENT_HEADER,
  type Fragment,
  HandshakeType,
  type Message,
} from './handshake.ts';
import { KeyUpdater } from './key-update.ts';
import { decodeAck, encodeAck, type RecordNumber } from './messages.ts';
import type { Direction, Opened, RecordProtection } from './protection.ts';
import { Reassembly } from './reassembly.ts';
import { ContentType, encodePlaintext, PLAINTEXT_HEADER, type PlaintextRecord, splitRecords } from './records.ts';
import { decodeSnapshot, encodeSnapshot } from './snapshot.ts';

const DEFAULT_MTU = 1_200;
const MIN_MTU = 256;
const MAX_MTU = 16_384;
/** Header of a protected record with content type and tag. */
const PROTECTED_OVERHEAD = 22;
const MAX_CONTENT = 16_384;

/** Records held until their keys come: a flight of a big certificate, overtaking its ServerHello. */
const MAX_HELD = 32;
const MAX_HELD_BYTES = 48 * 1_024;

/** A flight is not repeated on the peer's wish more often than this (protocol specification §2.9). */
const MIN_REPEAT_GAP: Micros = 100 * MS;
/** Nor on a partial ACK: a hole it shows is younger than the round trip otherwise. */
const MIN_ACK_GAP: Micros = 20 * MS;

export type Role = 'server' | 'client';

/** First numbers of a role, and how much reassembly may hold. */
export interface EndpointShape {
  readonly role: Role;
  readonly firstSent: number;
  readonly firstReceived: number;
  readonly maxMessage: number;
  readonly maxReassembly: number;
}

export abstract class DtlsEndpoint implements Endpoint {
  readonly role: Role;
  readonly drops: Uint32Array;
  protected readonly vault: Vault;
  protected readonly random: Random;
  readonly #protection: RecordProtection;
  readonly #mtu: number;
  readonly #reassembly: Reassembly;
  readonly #flight = new Flight();
  readonly #timer = new RepeatTimer();
  readonly #acknowledgement = new Acknowledgement();
  readonly #updater: KeyUpdater;
  #outputs: Output[] = [];
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #state: Endpoint['state'] = 'handshake';
  #suite = 0;
  #group = 0;
  #sendEpoch = 0;
  #receiveEpoch = 0;
  #plainSequence = 0;
  #peerPlainSequence = 0;
  #nextMessage: number;
  #sentAt: Micros = Number.NEGATIVE_INFINITY;
  #task = 0;
  #tasks = 0;
  #authenticated = false;

  constructor(shape: EndpointShape, options: EndpointOptions) {
    const mtu = options.mtu ?? DEFAULT_MTU;
    if (!(mtu >= MIN_MTU && mtu <= MAX_MTU))
      throw new RangeError(`Expected ${MIN_MTU} to ${MAX_MTU} for mtu but received ${mtu}`);
    this.role = shape.role;
    this.vault = options.vault;
    this.random = options.random;
    this.drops = options.drops ?? new Uint32Array(DTLS_DROPS);
    this.#protection = options.protection;
    this.#mtu = mtu;
    this.#nextMessage = shape.firstSent;
    this.#reassembly = new Reassembly(shape.firstReceived, shape.maxMessage, shape.maxReassembly);
    this.#updater = new KeyUpdater({
      transmit: (now, body) => {
        this.#flight.clear(); // a Finished may still be in it that was never acknowledged in so many words
        this.sendFlight(now, this.#sendEpoch, [[HandshakeType.keyUpdate, body]]);
      },
      advanceKeys: (direction) => this.#advanceKeys(direction),
    });
  }

  get state(): Endpoint['state'] {
    return this.#state;
  }

  // Inputs

  receive(now: Micros, datagram: Uint8Array): void {
    for (const record of splitRecords(datagram)) {
      if (this.#state === 'closed') this.#drop(DtlsDrop.afterClose);
      else if (record.kind === 'malformed') this.#drop(DtlsDrop.malformed);
      else if (record.kind === 'plaintext') this.#guard(now, () => this.#receivePlaintext(now, record));
      else this.#receiveProtected(now, record.bytes);
    }
  }

  receiveRecord(now: Micros, record: Opened): void {
    if (this.#state === 'closed') return this.#drop(DtlsDrop.afterClose);
    this.#authenticated = true;
    this.#guard(now, () => this.#receiveOpened(now, record));
  }

  complete(now: Micros, id: number, result: TaskResult): void {
    if (id !== this.#task || this.#state === 'closed') return;
    this.#task = 0;
    if (result.op === 'refused') return this.fail(now, result.alert, result.reason);
    this.#guard(now, () => {
      this.taskDone(now, result);
      this.#deliver(now);
    });
  }

  advance(now: Micros): void {
    if (this.#state === 'closed') return;
    const { deadline } = this.#acknowledgement;
    if (deadline !== undefined && now >= deadline) this.#sendAck();
    if (this.#timer.deadline === undefined || now < this.#timer.deadline) return;
    if (!this.#timer.expire(now)) return this.#close('PEER_SILENT', undefined, 'the peer did not answer seven sends');
    this.#repeat(now);
    if (this.#state === 'handshake' && !this.#acknowledgement.isEmpty) this.#sendAck();
  }

  // Commands

  send(_now: Micros, content: Uint8Array): void {
    if (this.#state !== 'established')
      throw new RangeError(`Expected an established endpoint to send but it is ${this.#state}`);
    if (content.length === 0 || content.length > MAX_CONTENT) {
      throw new RangeError(`Expected 1 to ${MAX_CONTENT} bytes for content but received ${content.length}`);
    }
    this.#seal(this.#sendEpoch, ContentType.applicationData, content);
  }

  updateKeys(now: Micros, requestPeer: boolean): boolean {
    return this.#state === 'established' && this.#updater.start(now, requestPeer);
  }

  close(_now: Micros): void {
    if (this.#state === 'closed') return;
    this.#sendAlert(Alert.closeNotify);
    this.#close('LOCAL_CLOSE', undefined, 'closed from this side');
  }

  // What to poll

  drain(): Output[] {
    const outputs = this.#outputs;
    this.#outputs = [];
    return outputs;
  }

  nextDeadline(): Micros | undefined {
    if (this.#state === 'closed') return undefined;
    const deadlines = [this.#acknowledgement.deadline, this.#timer.deadline].filter((each) => each !== undefined);
    return deadlines.length === 0 ? undefined : Math.min(...deadlines);
  }

  snapshot(): Uint8Array {
    if (this.#state !== 'established')
      throw new RangeError(`Expected an established endpoint but it is ${this.#state}`);
    return encodeSnapshot({
      role: this.role,
      suite: this.#suite,
      group: this.#group,
      sendEpoch: this.#sendEpoch,
      receiveEpoch: this.#receiveEpoch,
      nextSent: this.#nextMessage,
      nextReceived: this.#reassembly.next,
      update: this.#updater.state,
      piece: this.#updater.state === 'idle' ? undefined : this.#flight.open[0],
      repeats: this.#timer.repeats,
      deadline: this.#timer.deadline ?? 0,
    });
  }

  protected restore(bytes: Uint8Array): void {
    const snapshot = decodeSnapshot(bytes);
    this.#suite = snapshot.suite;
    this.#group = snapshot.group;
    this.#sendEpoch = snapshot.sendEpoch;
    this.#receiveEpoch = snapshot.receiveEpoch;
    this.#nextMessage = snapshot.nextSent;
    this.#state = 'established';
    this.#authenticated = true;
    this.#updater.state = snapshot.update;
    if (snapshot.piece === undefined) return;
    this.#flight.add(snapshot.piece.epoch, snapshot.piece.fragment, snapshot.piece.copies);
    this.#timer.restore(snapshot.repeats, snapshot.deadline);
  }

  // What the handshake is made of: for subclasses

  /** A message of the handshake, in order. @throws DtlsError to close with its alert */
  protected abstract handshakeMessage(now: Micros, message: Message): void;
  protected abstract taskDone(now: Micros, result: TaskResult): void;
  /** All of the flight was acknowledged during the handshake, or data came that only a finished peer sends. */
  protected abstract flightAcknowledged(now: Micros): void;
  /** Secrets of a handshake that are still held. */
  protected abstract forgetSecrets(): void;

  protected emit(output: Output): void {
    this.#outputs.push(output);
  }

  /** Messages wait until `complete` brings the answer. */
  protected runTask(task: CryptoTask): void {
    this.#task = ++this.#tasks;
    this.emit({ kind: 'task', id: this.#task, task });
  }

  /** The record number that a ServerHello begins with: that of the newest ClientHello record, as stock servers (§2.6). */
  protected followPeerNumbers(): void {
    this.#plainSequence = this.#peerPlainSequence;
  }

  /** Adds messages to the flight and sends them. @param whole keeps each in one fragment whatever the MTU */
  protected sendFlight(
    now: Micros,
    epoch: number,
    messages: ReadonlyArray<readonly [number, Uint8Array]>,
    whole = false,
  ): void {
    const limit = this.#mtu - FRAGMENT_HEADER - (epoch === 0 ? PLAINTEXT_HEADER : PROTECTED_OVERHEAD);
    for (const [type, body] of messages) {
      const message = { type, sequence: this.#nextMessage++, body };
      for (const fragment of encodeFragments(message, whole ? Math.max(body.length, 1) : limit)) {
        this.#transmit(this.#flight.add(epoch, fragment));
      }
    }
    this.#sentAt = now;
    this.#timer.start(now);
  }

  /** The peer has gone on: nothing of the flight needs repeating, and the wait begins anew. */
  protected answered(now: Micros): void {
    this.#flight.clear();
    this.#timer.start(now);
  }

  protected install(now: Micros, direction: Direction, epoch: number, suite: number, secret: Secret): void {
    this.#protection.install(direction, epoch, suite, secret);
    this.#suite = suite;
    if (direction === 'send') {
      this.#sendEpoch = epoch;
      return;
    }
    this.#receiveEpoch = epoch;
    const held = this.#held;
    this.#held = [];
    this.#heldBytes = 0;
    for (const record of held) if (this.#state !== 'closed') this.#receiveProtected(now, record);
  }

  /** The peer's flight is whole: it is acknowledged by what is sent next, or by an ACK now. */
  protected flightReceived(acknowledge: boolean): void {
    if (acknowledge) this.#sendAck();
    this.#acknowledgement.forget();
  }

  /** @param quiet the flight stays, to be repeated if the peer shows that it lacks it */
  protected establish(group: number, peerChain: readonly Uint8Array[], quiet = false): void {
    if (!quiet) this.#flight.clear();
    this.#timer.stop();
    this.#state = 'established';
    this.#group = group;
    this.forgetSecrets();
    this.emit({ kind: 'established', suite: this.#suite, group, peerChain });
  }

  protected fail(_now: Micros, alert: number, reason: string): void {
    if (this.#state === 'closed') return;
    this.#sendAlert(alert);
    this.#close('REFUSED', alert, reason);
  }

  // Receiving

  #guard(now: Micros, step: () => void): void {
    try {
      step();
    } catch (error) {
      if (!(error instanceof DtlsError)) throw error;
      this.fail(now, error.alert, error.message);
    }
  }

  #receivePlaintext(now: Micros, record: PlaintextRecord): void {
    const { contentType, sequence, content } = record;
    if (contentType === ContentType.changeCipherSpec) return this.#drop(DtlsDrop.unexpectedType);
    if (contentType === ContentType.handshake) return this.#receiveFragments(now, 0, sequence, content);
    if (contentType !== ContentType.alert) return this.#drop(DtlsDrop.unprotected); // an ACK nobody vouches for changes nothing
    if (this.#authenticated) return this.#drop(DtlsDrop.unprotected);
    if (content.length !== 2) return this.#drop(DtlsDrop.badMessage);
    this.#receiveAlert(content);
  }

  #receiveProtected(now: Micros, bytes: Uint8Array): void {
    const opened = this.#protection.open(bytes);
    if (opened === 'replayed') return this.#drop(DtlsDrop.replayed);
    if (opened !== undefined) {
      this.#authenticated = true;
      return this.#guard(now, () => this.#receiveOpened(now, opened));
    }
    if (!this.#awaitsKeysOf(bytes[0] & 3)) return this.#drop(DtlsDrop.unauthentic);
    if (this.#held.length === MAX_HELD || this.#heldBytes + bytes.length > MAX_HELD_BYTES)
      return this.#drop(DtlsDrop.early);
    this.#held.push(bytes.slice());
    this.#heldBytes += bytes.length;
  }

  /** Whether keys of this epoch are still to come in this handshake. */
  #awaitsKeysOf(epochBits: number): boolean {
    return this.#state === 'handshake' && epochBits >= 2 && epochBits > this.#receiveEpoch;
  }

  #receiveOpened(now: Micros, { epoch, sequence, contentType, content }: Opened): void {
    switch (contentType) {
      case ContentType.handshake:
        return this.#receiveFragments(now, epoch, sequence, content);
      case ContentType.ack:
        return this.#receiveAck(now, decodeAck(content));
      case ContentType.alert:
        return this.#receiveAlert(content);
      case ContentType.applicationData:
        if (epoch < 3) return this.#drop(DtlsDrop.wrongEpoch);
        if (this.#state === 'handshake') this.flightAcknowledged(now);
        if (this.#state !== 'established') return this.#drop(DtlsDrop.early);
        if (content.length > 0) this.emit({ kind: 'data', content });
        return;
      default:
        return this.#drop(DtlsDrop.unexpectedType);
    }
  }

  #receiveAlert(content: Uint8Array): void {
    const { description } = decodeAlert(content);
    if (description === Alert.userCanceled) return; // close_notify follows it (RFC 8446 §6.1)
    if (description === Alert.closeNotify) return this.#close('PEER_CLOSED', undefined, 'the peer closed');
    this.#close('PEER_ALERT', description, `the peer sent alert ${description}`);
  }

  #receiveAck(now: Micros, records: readonly RecordNumber[]): void {
    const progress = this.#flight.acknowledge(records);
    if (!progress) return;
    if (this.#flight.isEmpty) {
      this.#timer.stop();
      if (this.#state === 'handshake') this.#acknowledgedInHandshake(now);
      else this.#updater.acknowledged(now);
    } else {
      this.#timer.start(now);
      if (now - this.#sentAt >= MIN_ACK_GAP) this.#repeat(now);
    }
  }

  #acknowledgedInHandshake(now: Micros): void {
    this.#timer.start(now); // the peer's next flight is awaited, and not for ever
    this.flightAcknowledged(now);
  }

  #receiveFragments(now: Micros, epoch: number, sequence: number, content: Uint8Array): void {
    const fragments = this.#decode(epoch, content);
    if (fragments === undefined) return this.#drop(DtlsDrop.badMessage);
    let used = false;
    let repeated = false;
    for (const fragment of fragments) {
      if (epochClass(fragment.type) !== Math.min(epoch, 3)) this.#drop(DtlsDrop.wrongEpoch);
      else if (fragment.sequence < this.#reassembly.next) repeated = true;
      else if (this.#store(epoch, fragment)) used = true;
    }
    if (epoch === 0 && used) this.#peerPlainSequence = Math.max(this.#peerPlainSequence, sequence);
    if (epoch > 0 && (used || repeated)) this.#noteForAck(now, { epoch, sequence });
    if (repeated) this.#repeatOnWish(now, epoch);
    if (used) this.#deliver(now);
  }

  /** In plaintext anyone may have sent it: dropped. Protected, the peer itself breaks the protocol: closed. */
  #decode(epoch: number, content: Uint8Array): Fragment[] | undefined {
    try {
      return decodeFragments(content);
    } catch (error) {
      if (epoch > 0 || !(error instanceof DtlsError)) throw error;
      return undefined;
    }
  }

  #store(epoch: number, fragment: Fragment): boolean {
    // In plaintext only the message that is due is taken: nothing forged can wait in the place of a protected one.
    const due =
      epoch > 0 || (this.#receiveEpoch === 0 && this.#task === 0 && fragment.sequence === this.#reassembly.next);
    if (!due) {
      this.#drop(DtlsDrop.wrongEpoch);
      return false;
    }
    const stored = this.#reassembly.add(fragment);
    if (!stored) this.#drop(DtlsDrop.fragment);
    return stored;
  }

  #noteForAck(now: Micros, record: RecordNumber): void {
    this.#acknowledgement.received(now, record);
    if (this.#state === 'established') this.flightReceived(true);
  }

  #deliver(now: Micros): void {
    while (this.#task === 0 && this.#state !== 'closed') {
      const message = this.#reassembly.take();
      if (message === undefined) return;
      if (epochClass(message.type) === 3) this.#afterHandshake(now, message);
      else this.handshakeMessage(now, message);
    }
  }

  #afterHandshake(now: Micros, message: Message): void {
    if (this.#state === 'handshake') this.flightAcknowledged(now); // only a peer that has finished sends these
    if (this.#state !== 'established')
      throw new DtlsError(Alert.unexpectedMessage, 'message before the end of the handshake');
    if (message.type === HandshakeType.keyUpdate) this.#updater.received(now, message.body);
    else if (this.role === 'server') throw new DtlsError(Alert.unexpectedMessage, 'session ticket from a client');
    // A client has no use for a ticket: it was acknowledged, that is all.
  }

  #advanceKeys(direction: Direction): void {
    const epoch = this.#protection.update(direction);
    if (direction === 'send') this.#sendEpoch = epoch;
    else this.#receiveEpoch = epoch;
    this.emit({ kind: 'keysUpdated', direction, epoch });
  }

  // Sending

  #repeatOnWish(now: Micros, epoch: number): void {
    const wanted =
      this.#state === 'handshake' || this.#flight.open.some((piece) => piece.epoch === epoch && epoch === 2);
    if (wanted && now - this.#sentAt >= MIN_REPEAT_GAP) this.#repeat(now);
  }

  #repeat(now: Micros): void {
    if (this.#flight.isEmpty) return;
    for (const piece of this.#flight.open) this.#transmit(piece);
    this.#sentAt = now;
  }

  #transmit(piece: Piece): void {
    const { epoch, fragment } = piece;
    const sequence =
      epoch === 0
        ? this.#sendPlaintext(ContentType.handshake, fragment)
        : this.#seal(epoch, ContentType.handshake, fragment);
    this.#flight.sent(piece, { epoch, sequence });
  }

  #sendAck(): void {
    const records = this.#acknowledgement.report();
    if (records.length > 0 && this.#sendEpoch > 0) this.#seal(this.#sendEpoch, ContentType.ack, encodeAck(records));
  }

  #sendAlert(description: number): void {
    const content = encodeAlert(description);
    if (this.#sendEpoch === 0) this.#sendPlaintext(ContentType.alert, content);
    else this.#seal(this.#sendEpoch, ContentType.alert, content);
  }

  #seal(epoch: number, contentType: number, content: Uint8Array): number {
    const { bytes, sequence } = this.#protection.seal(epoch, contentType, content);
    this.emit({ kind: 'datagram', bytes });
    return sequence;
  }

  #sendPlaintext(contentType: number, content: Uint8Array): number {
    const sequence = this.#plainSequence++;
    this.emit({ kind: 'datagram', bytes: encodePlaintext(contentType, sequence, content) });
    return sequence;
  }

  // Ending

  #close(code: CloseCode, alert: number | undefined, reason: string): void {
    this.#state = 'closed';
    this.#task = 0;
    this.#flight.clear();
    this.#held = [];
    this.forgetSecrets();
    for (const direction of ['send', 'receive'] as const) {
      const newest = direction === 'send' ? this.#sendEpoch : this.#receiveEpoch;
      for (let epoch = newest; epoch > 0 && epoch > newest - 4; epoch--) this.#protection.drop(direction, epoch);
    }
    this.emit({ kind: 'closed', code, alert, reason });
  }

  #drop(reason: number): void {
    this.drops[reason]++;
  }
}
