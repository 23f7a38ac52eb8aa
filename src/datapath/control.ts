/**
 * session.control: everything of a shard that is not bulk data. Handshake datagrams and opened control records go to the
 * peer they belong to, strangers to the acceptor, deadlines to whom they are due; what comes out is put into the batches.
 */

import type { CryptoTask, TaskResult } from '../crypto/tasks.ts';
import type { Addon, IndexHandle, LanesHandle } from '../native/index.ts';
import type { NetworkConfig } from '../session/types.ts';
import type { Auth } from '../wire/frames.ts';
import { HEADER_SIZE } from '../wire/header.ts';
import type { Micros } from '../wire/time.ts';
import { formatAddress, ipv4Key, parseIpv4 } from './address.ts';
import { Backlog, type Job } from './backlog.ts';
import { ADDRESS, type Batch, Flag, HEADER, Kind, Verdict, wantsControl } from './batch.ts';
import { type Batches, nativeBatch } from './batches.ts';
import { createControlCounters } from './control-counters.ts';
import { ControlShare, STRANGERS_SHARE } from './control-share.ts';
import { Deadlines } from './deadlines.ts';
import { GENERATIONS_PER_ENGINE, type Grant, type Peer, type PeerHost, type ReportSender } from './host.ts';
import { SlotState } from './layout.ts';
import { Looks } from './looks.ts';
import { cutOversized } from './oversized.ts';
import type { ControlNode } from './path.ts';
import { Refusals } from './refusals.ts';
import { Rejects } from './rejects.ts';
import type { Role } from './role.ts';
import { packetsIn } from './stream-peer.ts';
import type { SessionTable, SlotPool } from './table.ts';
import { UdpPeer } from './udp-peer.ts';
import { Unproven } from './unproven.ts';

/** Control datagrams and packets that may wait for a block; a peer that makes more than fit loses them, counted. */
const MAX_WAITING = 4_096;
/** Among deadlines of slots: that of the looks, and the end of a second of rejects. */
const LOOKS = -1;
const REJECTS = -2;
/** Questions of one life of a shard, so many that all lives of an engine have their own numbers below 2^53. */
const ASKS_PER_LIFE = 2 ** 44;

export interface ControlOptions {
  readonly addon: Addon;
  readonly lanes: LanesHandle;
  /** Of the lanes: what `locate` may let through. */
  readonly limits: Uint32Array;
  readonly index: IndexHandle;
  readonly table: SessionTable;
  readonly pool: SlotPool;
  readonly batches: Batches;
  readonly report: ReportSender;
  /** Sends a datagram that no router may fragment; only clients do. @returns errno, 0 = sent */
  readonly sendProbe?: (address: Uint8Array, datagram: Uint8Array) => number;
  /** Of this shard's life: see `#nextAsk`. */
  readonly generation: number;
  /** A slot has been cleared: nothing that waits for it may reach its next session. */
  readonly cleared?: (slot: number) => void;
  /** Strangers have a door of their own. */
  readonly doors: boolean;
}

/** Takes whole frames for a TCP session, copied. @returns false when they were dropped: too much waits for the peer already */
export type StreamWriter = (bytes: Uint8Array) => boolean;

type Waiting = { slot: number; address: Uint8Array | undefined; bytes: Uint8Array };

export class Control implements ControlNode, PeerHost {
  readonly counters = createControlCounters();
  /** Time for what is unproven; the same for both where one socket takes all. */
  readonly handshakes = new ControlShare();
  readonly strangers: ControlShare;
  strangersFrom = Number.POSITIVE_INFINITY;
  fromDoors = 0;
  readonly peers = new Map<number, Peer>();
  readonly refusals: Refusals;
  readonly addon: Addon;
  readonly lanes: LanesHandle;
  readonly index: IndexHandle;
  readonly table: SessionTable;
  readonly #pool: SlotPool;
  readonly #batches: Batches;
  readonly #report: ReportSender;
  readonly #sendProbe: ControlOptions['sendProbe'];
  readonly #cleared: ((slot: number) => void) | undefined;
  readonly #deadlines = new Deadlines();
  readonly #looks = new Looks(this.peers);
  readonly #backlog = new Backlog();
  readonly #unproven: Unproven;
  readonly #asked = new Map<number, { peer: Peer; id: number }>();
  readonly #streams = new Map<number, StreamWriter>();
  readonly #freed: number[] = [];
  #datagrams: Waiting[] = [];
  #packets: Waiting[] = [];
  /** Numbers of questions to the engine: never a predecessor's, or the answer to its question would log in somebody else. */
  #nextAsk: number;
  #logins = 0;
  /** Entries of `trainsOut` that answer Pings. */
  #pongs = 0;
  readonly #rejects: Rejects;
  role!: Role;

  constructor(options: ControlOptions) {
    this.addon = options.addon;
    this.lanes = options.lanes;
    this.index = options.index;
    this.table = options.table;
    this.#pool = options.pool;
    this.#batches = options.batches;
    this.#report = options.report;
    this.#sendProbe = options.sendProbe;
    this.#cleared = options.cleared;
    this.#rejects = new Rejects(this.counters, options.limits);
    this.strangers = options.doors ? new ControlShare(STRANGERS_SHARE) : this.handshakes;
    this.refusals = new Refusals(this.table, this.counters, this.#report);
    this.#unproven = new Unproven(this, this.#batches, this.#backlog);
    this.#nextAsk = (options.generation % GENERATIONS_PER_ENGINE) * ASKS_PER_LIFE;
  }

  readonly now = (): Micros => this.addon.monotonicMicros();

  // ---- from the pipeline ----------------------------------------------------------------------------------------

  admits(): number {
    if (this.#unproven.isLate) return this.fromDoors;
    const now = this.now();
    const handshakes = this.handshakes.begin(now);
    if (this.strangers === this.handshakes) return handshakes;
    // what a door gave was within its share, and answering costs no more than receiving it did
    return Math.max(handshakes + this.strangers.begin(now), this.fromDoors);
  }

  /** Opened records first, then handshakes under way, then strangers. */
  vector(now: Micros): number {
    const { trainsIn, packets } = this.#batches;
    const rejected = this.#rejects.answer(now, trainsIn, this.transmitTo);
    if (rejected > 0) this.#deadlines.set(REJECTS, this.#rejects.deadline);
    let taken = rejected + this.#answerPings();
    const { verdict, flags, slot, train } = packets;
    const count = packets.header[HEADER.wanted] > 0 ? packets.header[HEADER.count] : 0; // most vectors are bulk data alone
    let raw = 0;
    let movedTrain = -1;
    for (let i = 0; i < count; i++) {
      if (!wantsControl(verdict[i], flags[i])) continue;
      taken++;
      if (packets.kind[i] === Kind.raw) {
        raw++; // proves nothing about who sent it
        continue;
      }
      // An address is moved first, so that the answer goes there; an id is adopted last, so that the answer carries the old one (§7.4).
      const floated = (flags[i] & Flag.floating) !== 0 && this.#isNewest(packets, i);
      if (floated) this.#moved(now, packets, i, slot[i], true);
      if (verdict[i] === Verdict.divert) this.#divert(now, packets, i);
      if (floated || (flags[i] & Flag.newId) === 0 || train[i] === movedTrain) continue;
      movedTrain = train[i];
      this.#moved(now, packets, i, slot[i], false);
    }
    if (raw > 0) this.#unproven.hear(now);
    this.#reclaim();
    return taken;
  }

  oversized(now: Micros): void {
    cutOversized(now, this.#batches.superpacketsIn, this.peers, this.counters, (peer) => this.reschedule(peer));
  }

  /** Those that ask for no more than an answer; a pass has done so already, mostly. */
  #answerPings(): number {
    const { packets, trainsOut } = this.#batches;
    if (packets.header[HEADER.wanted] === 0) return 0;
    const answered = this.addon.answerPings(this.lanes, nativeBatch(packets), nativeBatch(trainsOut));
    this.counters.pings += answered;
    this.#pongs += answered;
    return answered;
  }

  fill(): number {
    this.#pongs = 0;
    let answers = this.#unproven.takeAnswers();
    if (this.#datagrams.length === 0) return answers;
    const { trainsOut } = this.#batches;
    let sent = 0;
    for (const { slot, address, bytes } of this.#datagrams) {
      if (!this.addon.put(nativeBatch(trainsOut), slot, 0, address, bytes)) break;
      sent++;
      if (slot < 0) answers++;
    }
    if (sent > 0) this.#datagrams = sent === this.#datagrams.length ? [] : this.#datagrams.slice(sent);
    return answers;
  }

  answered(answers: number, micros: Micros): void {
    this.strangers.charge(answers, micros);
  }

  stream(slot: number, bytes: Uint8Array): void {
    const write = this.#streams.get(slot);
    if (!write) this.counters.unknownSlot += packetsIn(bytes);
    else if (!write(bytes)) this.counters.streamFull += packetsIn(bytes);
  }

  // ---- the shard's clock ----------------------------------------------------------------------------------------

  /** What waits for `work`. */
  get backlog(): number {
    return this.#backlog.size;
  }

  /** Puts a job behind those that wait: what a message brings. */
  later(job: Job): void {
    this.#backlog.add(job);
  }

  /** Does what is due, and of what waits as much as there is time for; the rest stays as it is. @param until by `now()` */
  work(now: Micros, until = Number.POSITIVE_INFINITY): void {
    if (this.refusals.any) this.refusals.advance(now);
    while (this.#advanceOne(now) && this.now() < until);
    if (this.#backlog.size > 0) this.#backlog.run(now, until, this.now);
    this.#reclaim();
  }

  #advanceOne(now: Micros): boolean {
    const slot = this.#deadlines.due(now);
    if (slot === undefined) return false;
    if (slot === REJECTS) {
      this.#rejects.refill();
      return true;
    }
    if (slot === LOOKS) {
      this.#looks.look(now, (peer) => this.#deadlines.set(peer.slot, now));
      this.#deadlines.set(LOOKS, this.#looks.deadline);
      return true;
    }
    const peer = this.peers.get(slot);
    if (!peer) return true;
    peer.advance(now);
    this.reschedule(peer);
    return true;
  }

  nextDeadline(): Micros | undefined {
    const deadline = this.#deadlines.next();
    if (!this.refusals.any) return deadline;
    const retry = this.refusals.nextDeadline();
    return retry === undefined || (deadline ?? retry) < retry ? deadline : retry;
  }

  get hasOutput(): boolean {
    return this.#datagrams.length > 0 || this.#packets.length > 0 || this.#unproven.answers > 0 || this.#pongs > 0;
  }

  /** Public-key tasks of sessions that wait for their answers. */
  get questions(): number {
    return this.#asked.size - this.#logins;
  }

  /** Moves waiting inner packets into the batch of packets that came as frames. */
  fillPackets(): boolean {
    const { controlPackets } = this.#batches;
    let taken = 0;
    for (const { slot, bytes } of this.#packets) {
      if (!this.addon.put(nativeBatch(controlPackets), slot, Kind.application, undefined, bytes)) break;
      taken++;
    }
    this.#packets = taken === this.#packets.length ? [] : this.#packets.slice(taken);
    return taken > 0;
  }

  // ---- sessions ---------------------------------------------------------------------------------------------------

  /** @returns a cleared, claimed slot, or -1 when the table is full */
  takeSlot(): number {
    const slot = this.#pool.take();
    if (slot < 0) return -1;
    this.clearSlot(slot);
    this.addon.claimSlot(this.lanes, slot);
    return slot;
  }

  clearSlot(slot: number): void {
    this.addon.clearSlot(this.lanes, slot);
    this.refusals.forget(slot);
    this.#cleared?.(slot);
  }

  /** A cleared slot that never had a peer here. */
  giveSlot(slot: number): void {
    this.#pool.give(slot);
  }

  add(peer: Peer, write?: StreamWriter): void {
    this.peers.set(peer.slot, peer);
    if (write) this.#streams.set(peer.slot, write);
    this.counters.sessionsOpened++;
    if (this.peers.size === 1) this.#deadlines.set(LOOKS, this.#looks.deadline);
    this.reschedule(peer);
  }

  reschedule(peer: Peer): void {
    if (this.peers.get(peer.slot) === peer) this.#deadlines.set(peer.slot, peer.nextDeadline());
  }

  /** Ends up to `most` sessions. @returns whether there are more: send what waits before the next, or it will not fit */
  closeSome(now: Micros, most: number): boolean {
    for (const peer of [...this.peers.values()].slice(0, most)) peer.close(now);
    this.#reclaim();
    return this.peers.size > 0;
  }

  taskDone(now: Micros, ask: number, result: TaskResult): void {
    const asked = this.#asked.get(ask);
    this.#asked.delete(ask);
    if (!asked || this.peers.get(asked.peer.slot) !== asked.peer) return;
    asked.peer.complete(now, asked.id, result);
    this.reschedule(asked.peer);
    this.#reclaim();
  }

  /** @returns false when the session is gone: its lease is the engine's to free */
  authorised(now: Micros, ask: number, grant: Grant | undefined, code: 'ACCESS_DENIED' | 'NO_ADDRESS'): boolean {
    const asked = this.#asked.get(ask);
    if (this.#asked.delete(ask)) this.#logins--;
    if (!asked || this.peers.get(asked.peer.slot) !== asked.peer) return false;
    if (grant) this.#enterLease(asked.peer.slot, grant);
    asked.peer.authorise(now, grant, code);
    this.reschedule(asked.peer);
    this.#reclaim();
    return true;
  }

  // ---- PeerHost -----------------------------------------------------------------------------------------------------

  compute(peer: Peer, id: number, task: CryptoTask): void {
    const ask = this.#nextAsk++;
    this.#asked.set(ask, { peer, id });
    this.#report({ type: 'task', id: ask, task });
  }

  authenticate(peer: Peer, auth: Auth): void {
    const ask = this.#nextAsk++;
    this.#asked.set(ask, { peer, id: 0 });
    this.#logins++;
    if (auth.method === 'userPass') peer.user = auth.user;
    const remote = this.table.fields.remote.view(peer.slot);
    const own = auth.method === 'userPass' ? { ...auth, password: takeAway(auth.password) } : auth;
    this.#report(
      {
        type: 'authenticate',
        id: ask,
        auth: own,
        localAddress: formatAddress(remote, ADDRESS.local),
        peerAddress: formatAddress(remote, ADDRESS.remote),
      },
      own.method === 'userPass' ? [own.password.buffer] : undefined,
    );
  }

  online(peer: Peer, networkConfig: NetworkConfig | undefined): void {
    this.role.online(peer, networkConfig);
  }

  inject(slot: number, packet: Uint8Array): void {
    this.#wait(this.#packets, { slot, address: undefined, bytes: packet.slice() });
  }

  transmit(slot: number, bytes: Uint8Array, repeat: number): void {
    const address = this.table.fields.remote.view(slot).slice();
    const datagram = this.#datagram(slot, bytes);
    for (let copy = 0; copy < repeat; copy++) this.#wait(this.#datagrams, { slot, address, bytes: datagram });
  }

  probe(slot: number, bytes: Uint8Array): void {
    const refused = this.#sendProbe?.(this.table.fields.remote.view(slot), this.#datagram(slot, bytes)) ?? 0;
    if (refused !== 0) this.counters.probesRefused++; // as good as lost on the way: the session tries a smaller one
  }

  #datagram(slot: number, bytes: Uint8Array): Uint8Array {
    const { sendId, versionMajor, versionMinor } = this.table.fields;
    const datagram = new Uint8Array(HEADER_SIZE + bytes.length);
    datagram[0] = 0x48;
    datagram[1] = 0x65;
    datagram[2] = versionMajor.get(slot);
    datagram[3] = versionMinor.get(slot);
    datagram.set(sendId.view(slot), 8);
    datagram.set(bytes, HEADER_SIZE);
    return datagram;
  }

  ended(peer: Peer, code: string, reason: string): void {
    if (this.peers.get(peer.slot) !== peer) return;
    this.peers.delete(peer.slot);
    this.#streams.delete(peer.slot);
    this.#deadlines.set(peer.slot, undefined);
    this.counters.sessionsClosed++;
    this.role.ended(peer, code, reason);
    this.table.fields.state.set(peer.slot, SlotState.closing);
    this.#freed.push(peer.slot);
  }

  /** A datagram to somebody who has no slot. */
  readonly transmitTo = (address: Uint8Array, datagram: Uint8Array): void =>
    this.#wait(this.#datagrams, { slot: -1, address, bytes: datagram });

  // ---- inside -------------------------------------------------------------------------------------------------------

  #wait(list: Waiting[], waiting: Waiting): void {
    if (list.length < MAX_WAITING) list.push(waiting);
    else this.counters.outputLost++;
  }

  /** A slot is used again only when no entry of the vector under way can name it. */
  #reclaim(): void {
    if (this.#freed.length === 0) return;
    for (const slot of this.#freed) {
      this.clearSlot(slot);
      this.#pool.give(slot);
    }
    this.#freed.length = 0;
  }

  /** A record that was opened. */
  #divert(now: Micros, packets: Batch, i: number): void {
    const at = packets.offset[i];
    const content = packets.bytes.slice(at, at + packets.length[i]);
    packets.bytes.fill(0, at, at + packets.length[i]); // keys and passwords are in there
    const peer = this.peers.get(packets.slot[i]);
    if (!(peer instanceof UdpPeer)) {
      this.counters.unknownSlot++;
      return;
    }
    const sequence = Number(packets.counter[i]);
    peer.receiveRecord(now, { epoch: packets.epoch[i], sequence, contentType: packets.kind[i], content });
    this.reschedule(peer);
  }

  /**
   * Whether nothing newer has come in the entry's lane. Only such a datagram moves a session (RFC 9146 §6): one that was late, or held back
   * by somebody on the path, comes from where the client no longer is.
   */
  #isNewest(packets: Batch, i: number): boolean {
    const { laneHighest, recordNext, receiveEpochs } = this.table.fields;
    const slot = packets.slot[i];
    const counter = packets.counter[i];
    if (packets.flags[i] & Flag.expresslane) return laneHighest.getBig(slot) === counter;
    const epoch = packets.epoch[i];
    for (let each = 0; each < 4; each++)
      if (receiveEpochs.get(slot, each) > epoch && recordNext.get(slot, each) > 0) return false; // heard, not only installed
    return recordNext.getBig(slot, epoch & 3) === counter + 1n;
  }

  #moved(now: Micros, packets: Batch, i: number, slot: number, floated: boolean): void {
    const peer = this.peers.get(slot);
    if (!(peer instanceof UdpPeer)) return;
    const { trainsIn } = this.#batches;
    const at = this.#headerOf(packets, i);
    const id = new DataView(packets.bytes.buffer, packets.bytes.byteOffset + at + 8, 8).getBigUint64(0);
    const from = packets.train[i] * ADDRESS.size;
    // What was located before the first of them moved the session is flagged as well: one float, not many.
    const moved = floated && !this.table.isRemote(slot, trainsIn.address, from);
    if (moved) this.counters.floats++;
    this.role.moved(now, peer, id, moved ? trainsIn.address.slice(from, from + ADDRESS.size) : undefined);
    this.reschedule(peer);
  }

  /** Where the Lightway header of an entry's datagram begins in `packets.bytes`. */
  #headerOf(packets: Batch, i: number): number {
    const { trainsIn } = this.#batches;
    if (packets.bytes !== trainsIn.bytes) return packets.offset[i] - HEADER_SIZE; // nodes that copy leave it in front
    const begin = trainsIn.offset[packets.train[i]]; // moved on by whole datagrams when `packets` was full: floor works both ways
    const size = trainsIn.segmentSize[packets.train[i]];
    return size === 0 ? begin : begin + Math.floor((packets.offset[i] - begin) / size) * size;
  }

  #enterLease(slot: number, { insideAddress, networkConfig, paceRate }: Grant): void {
    const { fields } = this.table;
    fields.paceRate.set(slot, paceRate);
    fields.insideAddress.set(slot, insideAddress);
    fields.openSource.set(slot, insideAddress);
    fields.sealDestination.set(slot, parseIpv4(networkConfig.localIp));
    this.addon.indexSet(this.index, 'inside', ipv4Key(insideAddress), slot);
  }
}

/** Moves a secret into memory of its own, and zeroes it where it was. */
function takeAway(secret: Uint8Array): Uint8Array<ArrayBuffer> {
  const own = new Uint8Array(secret);
  secret.fill(0);
  return own;
}
