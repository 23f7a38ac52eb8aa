/**
 * What server and client share: records in, order of messages, acknowledgement, alerts, the end. The handshake itself is in
 * `server.ts` and `client.ts`, what follows it in `key-update.ts`, sending in `transmitter.ts`.
 */
import type { CryptoTask, TaskResult } from '../crypto/tasks.ts';
import type { Secret, Vault } from '../crypto/vault.ts';
import type { Micros, Random } from '../wire/time.ts';
import { Alert, DtlsError, decodeAlert } from './alerts.ts';
import {
  type CloseCode,
  DTLS_DROPS,
  DtlsDrop,
  type Endpoint,
  type EndpointOptions,
  type EndpointState,
  type Output,
} from './events.ts';
import { decodeFragments, epochClass, type Fragment, HandshakeType, type Message } from './handshake.ts';
import { KeyUpdater } from './key-update.ts';
import { decodeAck, type RecordNumber } from './messages.ts';
import { type Direction, type Opened, RECEIVE_EPOCHS, type RecordProtection } from './protection.ts';
import { Reassembly } from './reassembly.ts';
import { ContentType, type PlaintextRecord, splitRecords } from './records.ts';
import { decodeSnapshot, encodeSnapshot } from './snapshot.ts';
import { type MessageParts, Transmitter } from './transmitter.ts';

const DEFAULT_MTU = 1_200;
const MIN_MTU = 256;
const MAX_MTU = 16_384;
const MAX_CONTENT = 16_384;

/**
 * Records held until their keys come. To a client: a flight with a big certificate, overtaking its ServerHello. To a server: what
 * overtakes a Finished, a login in three copies; anybody who proves an address may have that much held, so it is no more.
 */
const MAX_HELD = { client: { records: 32, bytes: 48 * 1_024 }, server: { records: 8, bytes: 6 * 1_024 } } as const;

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
  readonly #reassembly: Reassembly;
  readonly #transmitter: Transmitter;
  readonly #updater: KeyUpdater;
  #outputs: Output[] = [];
  #held: Uint8Array[] = [];
  #heldBytes = 0;
  #state: EndpointState = 'handshake';
  #suite = 0;
  #group = 0;
  #receiveEpoch = 0;
  #peerPlainSequence = 0;
  #task = 0;
  #tasks = 0;
  #authenticated = false;

  constructor(shape: EndpointShape, options: EndpointOptions) {
    const mtu = options.mtu ?? DEFAULT_MTU;
    if (!(mtu >= MIN_MTU && mtu <= MAX_MTU)) {
      throw new RangeError(`Expected ${MIN_MTU} to ${MAX_MTU} for mtu but received ${mtu}`);
    }
    this.role = shape.role;
    this.vault = options.vault;
    this.random = options.random;
    this.drops = options.drops ?? new Uint32Array(DTLS_DROPS);
    this.#protection = options.protection;
    this.#reassembly = new Reassembly(shape.firstReceived, shape.maxMessage, shape.maxReassembly);
    this.#transmitter = new Transmitter(options.protection, mtu, shape.firstSent, (output) => this.emit(output));
    this.#updater = new KeyUpdater({
      transmit: (now, body) => this.#sendKeyUpdate(now, body),
      advanceKeys: (direction) => this.#advanceKeys(direction),
      receiveEpoch: () => this.#receiveEpoch,
    });
  }

  get state(): EndpointState {
    return this.#state;
  }

  // Inputs

  receive(now: Micros, datagram: Uint8Array): void {
    for (const record of splitRecords(datagram)) {
      if (this.#state === 'closed') this.#drop(DtlsDrop.afterClose);
      else if (record.kind === 'malformed') this.#drop(DtlsDrop.malformed);
      else if (record.kind === 'plaintext') this.#guard(() => this.#receivePlaintext(now, record));
      else this.#receiveProtected(now, record.bytes);
    }
  }

  receiveRecord(now: Micros, record: Opened): void {
    if (this.#state === 'closed') {
      this.#drop(DtlsDrop.afterClose);
      return;
    }
    this.#authenticated = true;
    this.#guard(() => this.#receiveOpened(now, record));
  }

  complete(now: Micros, id: number, result: TaskResult): void {
    if (id !== this.#task || this.#state === 'closed') return;
    this.#task = 0;
    this.#guard(() => {
      if (result.op === 'refused') throw new DtlsError(result.alert, result.reason);
      this.taskDone(now, result);
      this.#deliver(now);
    });
  }

  advance(now: Micros): void {
    const { acknowledgement, timer } = this.#transmitter;
    if (this.#state === 'closed') return;
    if (acknowledgement.deadline !== undefined && now >= acknowledgement.deadline) this.#transmitter.sendAck();
    if (timer.deadline === undefined || now < timer.deadline) return;
    if (!timer.expire(now)) {
      this.#close('PEER_SILENT', undefined, 'the peer did not answer seven sends');
      return;
    }
    this.#transmitter.repeat(now);
    if (this.#state === 'handshake' && !acknowledgement.isEmpty) this.#transmitter.sendAck();
  }

  // Commands

  send(_now: Micros, content: Uint8Array): void {
    if (this.#state !== 'established') {
      throw new RangeError(`Expected an established endpoint to send but it is ${this.#state}`);
    }
    if (content.length === 0 || content.length > MAX_CONTENT) {
      throw new RangeError(`Expected 1 to ${MAX_CONTENT} bytes for content but received ${content.length}`);
    }
    this.#transmitter.seal(this.#transmitter.epoch, ContentType.applicationData, content);
  }

  updateKeys(now: Micros, requestPeer: boolean): boolean {
    return this.#state === 'established' && this.#updater.start(now, requestPeer);
  }

  close(_now: Micros): void {
    if (this.#state === 'closed') return;
    this.#transmitter.sendAlert(Alert.closeNotify);
    this.#close('LOCAL_CLOSE', undefined, 'closed from this side');
  }

  // What to poll

  drain(): Output[] {
    const outputs = this.#outputs;
    this.#outputs = [];
    return outputs;
  }

  nextDeadline(): Micros | undefined {
    return this.#state === 'closed' ? undefined : this.#transmitter.deadline;
  }

  snapshot(): Uint8Array {
    if (this.#state !== 'established')
      throw new RangeError(`Expected an established endpoint but it is ${this.#state}`);
    const { epoch, nextMessage, flight, timer } = this.#transmitter;
    return encodeSnapshot({
      role: this.role,
      suite: this.#suite,
      group: this.#group,
      sendEpoch: epoch,
      receiveEpoch: this.#receiveEpoch,
      nextSent: nextMessage,
      nextReceived: this.#reassembly.next,
      update: this.#updater.state,
      piece: this.#updater.state === 'idle' ? undefined : flight.open[0],
      repeats: timer.repeats,
      deadline: timer.deadline ?? 0,
    });
  }

  protected restore(bytes: Uint8Array): void {
    const snapshot = decodeSnapshot(bytes);
    this.#suite = snapshot.suite;
    this.#group = snapshot.group;
    this.#transmitter.epoch = snapshot.sendEpoch;
    this.#receiveEpoch = snapshot.receiveEpoch;
    this.#state = 'established';
    this.#authenticated = true;
    this.#updater.state = snapshot.update;
    if (snapshot.piece === undefined) return;
    this.#transmitter.flight.add(snapshot.piece.epoch, snapshot.piece.fragment, snapshot.piece.copies);
    this.#transmitter.timer.restore(snapshot.repeats, snapshot.deadline);
  }

  // What the handshake is made of: for subclasses

  /** A message of the handshake, in order. @throws DtlsError to close with its alert */
  protected abstract handshakeMessage(now: Micros, message: Message): void;
  protected abstract taskDone(now: Micros, result: TaskResult): void;
  /** All of the flight was acknowledged during the handshake, or something came that only a finished peer sends. */
  protected abstract flightAcknowledged(now: Micros): void;
  /** The handshake is over: its secrets are destroyed, its messages let go. */
  protected abstract forgetHandshake(): void;

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
    this.#transmitter.plainSequence = this.#peerPlainSequence;
  }

  /** @param whole keeps each message in one fragment whatever the MTU */
  protected sendFlight(now: Micros, epoch: number, messages: readonly MessageParts[], whole = false): void {
    this.#transmitter.send(now, epoch, messages, whole);
  }

  /** The peer has gone on: the flight is no longer repeated, and the wait begins anew. */
  protected answered(now: Micros): void {
    this.#transmitter.answered(now);
  }

  /** Receive keys come last in a step: they let held records in, which may go on with the handshake at once. */
  protected install(now: Micros, direction: Direction, epoch: number, suite: number, secret: Secret): void {
    this.#protection.install(direction, epoch, suite, secret);
    this.#suite = suite;
    if (direction === 'send') {
      this.#transmitter.epoch = epoch;
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
    if (acknowledge) this.#transmitter.sendAck();
    this.#transmitter.acknowledgement.forget();
  }

  /** @param keepFlight what is unacknowledged stays, to be repeated only if the peer shows that it lacks it */
  protected establish(group: number, peerChain: readonly Uint8Array[], keepFlight: boolean): void {
    if (!keepFlight) this.#transmitter.flight.clear();
    if (this.#transmitter.flight.isEmpty) this.#protection.drop('send', 2); // nothing is left to repeat in it
    this.#transmitter.timer.stop();
    this.#state = 'established';
    this.#group = group;
    this.forgetHandshake();
    this.emit({ kind: 'established', suite: this.#suite, group, peerChain });
  }

  // Receiving

  #guard(step: () => void): void {
    try {
      step();
    } catch (error) {
      if (!(error instanceof DtlsError)) throw error;
      if (this.#state === 'closed') return;
      this.#transmitter.sendAlert(error.alert);
      this.#close('REFUSED', error.alert, error.message);
    }
  }

  #receivePlaintext(now: Micros, { contentType, sequence, content }: PlaintextRecord): void {
    if (contentType === ContentType.handshake) this.#receiveFragments(now, 0, sequence, content);
    else if (contentType === ContentType.changeCipherSpec) this.#drop(DtlsDrop.unexpectedType);
    // An ACK nobody vouches for changes nothing, and an alert only while the peer has no keys to vouch with.
    else if (contentType !== ContentType.alert || this.#authenticated) this.#drop(DtlsDrop.unprotected);
    else if (content.length !== 2) this.#drop(DtlsDrop.badMessage);
    else this.#receiveAlert(content);
  }

  #receiveProtected(now: Micros, bytes: Uint8Array): void {
    const opened = this.#protection.open(bytes);
    if (opened === 'replayed') {
      this.#drop(DtlsDrop.replayed);
    } else if (opened !== undefined) {
      this.#authenticated = true;
      this.#guard(() => this.#receiveOpened(now, opened));
    } else if (!this.#awaitsKeysOf(bytes[0] & 3)) {
      this.#drop(DtlsDrop.unauthentic);
    } else if (!this.#mayHold(bytes.length)) {
      this.#drop(DtlsDrop.early);
    } else {
      // `slice` of a Buffer would be a view, and the caller's bytes are its own again after this call.
      this.#held.push(new Uint8Array(bytes));
      this.#heldBytes += bytes.length;
    }
  }

  #mayHold(bytes: number): boolean {
    const most = MAX_HELD[this.role];
    return this.#held.length < most.records && this.#heldBytes + bytes <= most.bytes;
  }

  /** Whether keys of this epoch are still to come in this handshake. */
  #awaitsKeysOf(epochBits: number): boolean {
    return this.#state === 'handshake' && epochBits >= 2 && epochBits > this.#receiveEpoch;
  }

  #receiveOpened(now: Micros, { epoch, sequence, contentType, content }: Opened): void {
    if (contentType === ContentType.handshake) this.#receiveFragments(now, epoch, sequence, content);
    else if (contentType === ContentType.ack) this.#receiveAck(now, decodeAck(content));
    else if (contentType === ContentType.alert) this.#receiveAlert(content);
    else if (contentType === ContentType.applicationData) this.#receiveContent(now, epoch, content);
    else this.#drop(DtlsDrop.unexpectedType);
  }

  #receiveContent(now: Micros, epoch: number, content: Uint8Array): void {
    if (this.#state === 'handshake' && epoch >= 3) this.flightAcknowledged(now);
    if (epoch < 3) this.#drop(DtlsDrop.wrongEpoch);
    else if (this.#state !== 'established') this.#drop(DtlsDrop.early);
    else if (content.length > 0) this.emit({ kind: 'data', content });
  }

  #receiveAlert(content: Uint8Array): void {
    const { description } = decodeAlert(content);
    if (description === Alert.userCanceled) return; // close_notify follows it (RFC 8446 §6.1)
    if (description === Alert.closeNotify) this.#close('PEER_CLOSED', undefined, 'the peer closed');
    else this.#close('PEER_ALERT', description, `the peer sent alert ${description}`);
  }

  #receiveAck(now: Micros, records: readonly RecordNumber[]): void {
    if (!this.#transmitter.acknowledged(now, records)) return;
    if (this.#state === 'handshake') {
      this.#transmitter.timer.start(now); // the peer's next flight is awaited, and not for ever
      this.flightAcknowledged(now);
    } else {
      this.#updater.acknowledged(now);
    }
  }

  #receiveFragments(now: Micros, epoch: number, sequence: number, content: Uint8Array): void {
    const fragments = this.#decode(epoch, content);
    let used = false;
    let repeated = false;
    for (const fragment of fragments) {
      if (epochClass(fragment.type) !== Math.min(epoch, 3)) this.#drop(DtlsDrop.wrongEpoch);
      else if (fragment.sequence < this.#reassembly.next) repeated = true;
      else if (this.#store(epoch, fragment)) used = true;
    }
    if (epoch === 0 && used) this.#peerPlainSequence = Math.max(this.#peerPlainSequence, sequence);
    if (epoch > 0 && (used || repeated)) this.#noteForAck(now, { epoch, sequence });
    if (repeated) this.#receiveRepetition(now, epoch);
    if (used) this.#deliver(now);
  }

  /** In plaintext anyone may have sent it: dropped. Protected, the peer itself breaks the protocol: closed. */
  #decode(epoch: number, content: Uint8Array): Fragment[] {
    try {
      return decodeFragments(content);
    } catch (error) {
      if (epoch > 0 || !(error instanceof DtlsError)) throw error;
      this.#drop(DtlsDrop.badMessage);
      return [];
    }
  }

  #store(epoch: number, fragment: Fragment): boolean {
    // In plaintext only the message that is due is taken: nothing forged can wait in the place of a protected one.
    const due = this.#receiveEpoch === 0 && this.#task === 0 && fragment.sequence === this.#reassembly.next;
    if (epoch === 0 && !due) {
      this.#drop(DtlsDrop.wrongEpoch);
      return false;
    }
    const stored = this.#reassembly.add(fragment);
    if (!stored) this.#drop(DtlsDrop.fragment);
    return stored;
  }

  #noteForAck(now: Micros, record: RecordNumber): void {
    this.#transmitter.acknowledgement.received(now, record);
    if (this.#state === 'established') this.flightReceived(true);
  }

  /** Whoever repeats a message lacks our answer to it. After the handshake that is the ACK just sent, or a kept Finished. */
  #receiveRepetition(now: Micros, epoch: number): void {
    const lacking = this.#transmitter.flight.open.some((piece) => piece.epoch === epoch && epoch === 2);
    if (this.#state === 'handshake' || lacking) this.#transmitter.repeatOnWish(now);
  }

  #deliver(now: Micros): void {
    while (this.#task === 0 && this.#state !== 'closed') {
      const message = this.#reassembly.take();
      if (message === undefined) return;
      if (epochClass(message.type) === 3) this.#afterHandshake(now, message);
      else if (this.#state === 'handshake') this.handshakeMessage(now, message);
      else throw new DtlsError(Alert.unexpectedMessage, 'handshake message after the handshake');
    }
  }

  #afterHandshake(now: Micros, message: Message): void {
    if (this.#state === 'handshake') this.flightAcknowledged(now); // only a peer that has finished sends these
    if (this.#state !== 'established') throw new DtlsError(Alert.unexpectedMessage, 'message before its time');
    if (message.type === HandshakeType.keyUpdate) this.#updater.received(now, message.body);
    else if (this.role === 'server') throw new DtlsError(Alert.unexpectedMessage, 'session ticket from a client');
    // A client has no use for a ticket: it was acknowledged, that is all.
  }

  // Key updates

  #sendKeyUpdate(now: Micros, body: Uint8Array): void {
    this.#transmitter.flight.clear(); // a Finished may still be in it that was never acknowledged in so many words
    this.#transmitter.send(now, this.#transmitter.epoch, [[HandshakeType.keyUpdate, body]]);
  }

  #advanceKeys(direction: Direction): void {
    const epoch = this.#protection.update(direction);
    if (direction === 'send') this.#transmitter.epoch = epoch;
    else this.#receiveEpoch = epoch;
    this.emit({ kind: 'keysUpdated', direction, epoch });
  }

  // Ending

  #close(code: CloseCode, alert: number | undefined, reason: string): void {
    this.#state = 'closed';
    this.#task = 0;
    this.#transmitter.flight.clear();
    this.#held = [];
    this.forgetHandshake();
    for (const direction of ['send', 'receive'] as const) {
      const newest = direction === 'send' ? this.#transmitter.epoch : this.#receiveEpoch;
      for (let epoch = newest; epoch > 0 && epoch > newest - RECEIVE_EPOCHS; epoch--)
        this.#protection.drop(direction, epoch);
    }
    this.emit({ kind: 'closed', code, alert, reason });
  }

  #drop(reason: number): void {
    this.drops[reason]++;
  }
}
