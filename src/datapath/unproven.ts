/**
 * Datagrams that prove nothing about who sent them: those of strangers, and of sessions in plaintext or under keys of the handshake. First ClientHellos
 * are answered at once where the role can do that for all together; the others wait in the shard's backlog, each with what it needs of the vector.
 */
import { isClientHello } from '../dtls/records.ts';
import { HEADER_SIZE } from '../wire/header.ts';
import type { Micros } from '../wire/time.ts';
import type { Backlog, Job } from './backlog.ts';
import { ADDRESS, type Batch, HEADER, Kind, Verdict } from './batch.ts';
import type { Batches } from './batches.ts';
import type { Control } from './control.ts';
import type { ControlShare } from './control-share.ts';
import { SlotState } from './layout.ts';
import type { Stranger } from './role.ts';
import { UdpPeer } from './udp-peer.ts';

/** Handshake datagrams that may wait for their turn; a client repeats what is dropped. */
const MAX_BACKLOG = 1_024;
/** So many, and no stranger is let in to join them. */
const LONG_BACKLOG = 32;

export class Unproven {
  readonly #control: Control;
  readonly #batches: Batches;
  readonly #backlog: Backlog;
  #answers = 0;

  constructor(control: Control, batches: Batches, backlog: Backlog) {
    this.#control = control;
    this.#batches = batches;
    this.#backlog = backlog;
  }

  /** Entries of `trainsOut` that answer strangers, since `takeAnswers`. */
  get answers(): number {
    return this.#answers;
  }

  takeAnswers(): number {
    const answers = this.#answers;
    this.#answers = 0;
    return answers;
  }

  /** So much waits that no stranger should join. */
  get isLate(): boolean {
    return this.#backlog.size >= LONG_BACKLOG;
  }

  /** Sessions (handshakes under way without a limit), then strangers, of whom `locate` has left out those that were too many. */
  hear(now: Micros): void {
    const { packets } = this.#batches;
    const { verdict, kind, slot, train } = packets;
    const { table, handshakes, strangersFrom, counters } = this.#control;
    const { state } = table.fields;
    const count = packets.header[HEADER.count];
    for (let strangers = 0; strangers < 2; strangers++) {
      if (strangers === 1) this.#answerStrangers(now);
      for (let i = 0; i < count; i++) {
        if (verdict[i] !== Verdict.divert || kind[i] !== Kind.raw || slot[i] < 0 !== (strangers === 1)) continue;
        const admitted = slot[i] >= 0 && state.get(slot[i]) === SlotState.handshake;
        const share = train[i] < strangersFrom ? handshakes : this.#control.strangers;
        // what waits has not been charged yet
        if (!admitted && slot[i] >= 0 && (!share.open || this.isLate)) {
          counters.overload++;
          continue;
        }
        this.#hearOne(packets, i, admitted ? undefined : share);
      }
    }
  }

  /** @param share what it is charged to */
  #hearOne(packets: Batch, i: number, share: ControlShare | undefined): void {
    if (this.#backlog.size >= MAX_BACKLOG) {
      this.#control.counters.overload++;
      return;
    }
    const job = packets.slot[i] < 0 ? this.#strangerJob(packets, i) : this.#datagramJob(packets, i);
    if (!job) return;
    this.#backlog.add((now) => {
      const began = share ? this.#control.now() : 0;
      job(now);
      share?.spend(this.#control.now() - began);
    });
  }

  #strangerJob(packets: Batch, i: number): Job {
    this.#control.counters.strangers++;
    const stranger = this.#stranger(packets, i, this.#contentOf(packets, i));
    return (now) => this.#control.role.stranger(now, stranger);
  }

  #datagramJob(packets: Batch, i: number): Job | undefined {
    const slot = packets.slot[i];
    const peer = this.#control.peers.get(slot);
    if (!(peer instanceof UdpPeer)) {
      this.#control.counters.unknownSlot++;
      return undefined;
    }
    if (!this.#fromRemote(packets, i)) {
      this.#control.counters.wrongAddress++; // nothing proves who sent it: only opened records may come from elsewhere
      return undefined;
    }
    const content = this.#contentOf(packets, i);
    const again = isClientHello(content) ? this.#stranger(packets, i, content) : undefined;
    return (now) => {
      if (this.#control.peers.get(slot) !== peer) {
        // it has ended meanwhile: perhaps by the hello before, of which this is the next piece
        if (again) this.#control.role.stranger(now, again);
        else this.#control.counters.unknownSlot++;
        return;
      }
      if (again) this.#control.role.helloAgain(now, peer, again);
      else peer.receive(now, content);
      this.#control.reschedule(peer);
    };
  }

  /** Most of those that are strangers, and all of a flood, are answered by the addon; what is left is heard one by one. */
  #answerStrangers(now: Micros): void {
    const { trainsIn, trainsOut } = this.#batches;
    const trains = trainsIn.header[HEADER.count];
    const doorstep = Math.min(this.#control.strangersFrom, trains);
    const before = trainsOut.header[HEADER.count];
    this.#answerTrains(now, 0, doorstep, this.#control.handshakes);
    this.#answerTrains(now, doorstep, trains, this.#control.strangers);
    this.#answers += trainsOut.header[HEADER.count] - before;
  }

  #answerTrains(now: Micros, first: number, end: number, share: ControlShare): void {
    if (first === end) return;
    const began = this.#control.now();
    const answered = this.#control.role.answerMany?.(now, this.#batches, first, end) ?? 0;
    if (answered === 0) return;
    this.#control.counters.strangers += answered;
    share.spend(this.#control.now() - began, answered);
  }

  #contentOf(packets: Batch, i: number): Uint8Array {
    const at = packets.offset[i];
    return packets.bytes.slice(at, at + packets.length[i]);
  }

  #fromRemote(packets: Batch, i: number): boolean {
    return this.#control.table.isRemote(
      packets.slot[i],
      this.#batches.trainsIn.address,
      packets.train[i] * ADDRESS.size,
    );
  }

  #stranger(packets: Batch, i: number, payload: Uint8Array): Stranger {
    const { trainsIn } = this.#batches;
    const at = packets.offset[i];
    const from = packets.train[i] * ADDRESS.size;
    return {
      payload,
      header: packets.bytes.slice(at - HEADER_SIZE, at),
      address: trainsIn.address.slice(from, from + ADDRESS.size),
    };
  }
}
