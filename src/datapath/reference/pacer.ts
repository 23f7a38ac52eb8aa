/**
 * pacer.release in plain TypeScript: the oracle of native/pacer, and what `--aead noble` runs. The native one keeps queues in linked lists
 * and those who wait in a heap; here they are arrays.
 */
import { type Cut, Gso, planCut, segmentLength, slice } from '../../packet/segment.ts';
import type { Micros } from '../../wire/time.ts';
import { Flag, HEADER, Verdict } from '../batch.ts';
import { SlotFlag } from '../layout.ts';
import { PACER_STATE, type Pacer, UNLIMITED } from '../pacer.ts';
import { count, decide, type ReferenceLanes, slotOf } from './lanes.ts';
import type { ReferenceBatch } from './memory.ts';

/** The numbers of native/pacer/pacer.h. */
const QUANTUM = 65_536;
const LEAST_QUANTUM = 2_048;
const OVERHEAD = 84;
const PIECE_COST = 256;
const LEAST_BOUND = 262_144;
const MOST_BOUND = 4_194_304;
const BOUND_TIME: Micros = 50_000;
const TRAIN_TIME: Micros = 1_000;
/** Lateness that is made up for, at 8/7 of the rate. */
const LATE: Micros = 5_000;
const PEAK = 0.875;
const LEAST_TRAIN = 3_000;
const SEGMENT_BYTES = 1_500;
const MOST_PIECES = 16_384;

interface Piece {
  readonly bytes: Uint8Array;
  readonly wire: number;
  readonly segments: number;
  readonly columns: Columns;
}

interface Columns {
  readonly kind: number;
  readonly segmentSize: number;
  readonly flags: number;
  readonly checksumStart: number;
  readonly checksumOffset: number;
}

interface Session {
  readonly slot: number;
  pieces: Piece[];
  cost: number;
  /** When the next piece conforms to the rate, and to the peak rate. */
  sustained: Micros;
  peak: Micros;
  deficit: number;
  call: number;
  passed: number;
  place: 'none' | 'waiting' | 'active';
}

interface Rate {
  /** 0: none. */
  readonly microsPerByte: number;
  readonly train: number;
  readonly bound: number;
}

/** A superpacket as it will be cut. */
interface Shape {
  readonly bytes: Uint8Array;
  readonly cut: Cut | undefined;
  readonly segments: number;
  readonly columns: Columns;
}

export class ReferencePacer implements Pacer<ReferenceBatch> {
  readonly state = new Float64Array(8);
  readonly #lanes: ReferenceLanes;
  readonly #released: ReferenceBatch;
  readonly #trainSegments: number;
  readonly #sessions = new Map<number, Session>();
  #waiting: { at: Micros; session: Session }[] = [];
  readonly #active: Session[] = [];
  #pieces = 0;
  #cost = 0;
  #call = 0;
  #now: Micros = 0;
  #left = 0;
  #limited = false;
  #quantum = 0;

  constructor(lanes: ReferenceLanes, released: ReferenceBatch, trainSegments: number) {
    this.#lanes = lanes;
    this.#released = released;
    this.#trainSegments = trainSegments;
    this.#tell();
  }

  release(superpackets: ReferenceBatch, fresh: boolean, now: Micros, budget: number): number {
    this.#call++;
    this.#now = now;
    this.#limited = budget !== UNLIMITED;
    this.#left = this.#limited ? budget : Number.POSITIVE_INFINITY;
    const share = Math.floor(budget / (this.#active.length + 1));
    this.#quantum = budget === 0 ? 0 : Math.min(QUANTUM, Math.max(LEAST_QUANTUM, share));
    const { header, verdict } = superpackets;
    if (fresh)
      for (let i = header[HEADER.consumed]; i < header[HEADER.count]; i++)
        if (verdict[i] === Verdict.pass) this.#arrive(superpackets, i);
    this.#wake();
    while (this.#active.length > 0 && this.#left > 0 && !this.#full()) this.#serve(this.#active.shift() as Session);
    this.#tell();
    return this.#released.header[HEADER.count];
  }

  forget(slot: number, superseded = false): number {
    const session = this.#sessions.get(slot);
    if (!session) return 0;
    let segments = 0;
    while (session.pieces.length > 0) segments += this.#pop(session).segments;
    count(this.#lanes, superseded ? Verdict.superseded : Verdict.notOnline, segments);
    session.sustained = 0;
    session.peak = 0;
    session.deficit = 0;
    this.#tell();
    return segments;
  }

  // ---- rates ---------------------------------------------------------------------------------------------------------

  #rateOf(slot: number): Rate {
    const { flags, paceRate } = this.#lanes.table.fields;
    const kilobits = (flags.get(slot) & SlotFlag.stream) !== 0 ? 0 : paceRate.get(slot);
    if (kilobits === 0) return { microsPerByte: 0, train: 0, bound: LEAST_BOUND };
    const bytesPerMicro = kilobits / 8000;
    const train = Math.min(Math.max(bytesPerMicro * TRAIN_TIME, LEAST_TRAIN), this.#trainSegments * SEGMENT_BYTES);
    const bound = Math.min(Math.max(bytesPerMicro * BOUND_TIME, LEAST_BOUND), MOST_BOUND);
    return { microsPerByte: 8000 / kilobits, train: Math.floor(train), bound: Math.floor(bound) };
  }

  #segmentsOf(rate: Rate, shape: Shape): number {
    if (rate.microsPerByte === 0) return shape.segments;
    const fit = Math.floor(rate.train / (lengthOf(shape, 0, 1) + OVERHEAD));
    return Math.max(1, Math.min(this.#trainSegments, fit));
  }

  // ---- arrivals ------------------------------------------------------------------------------------------------------

  #arrive(batch: ReferenceBatch, entry: number): void {
    const slot = slotOf(this.#lanes, batch, entry);
    if (slot < 0) return;
    const session = this.#session(slot);
    const rate = this.#rateOf(slot);
    if (session.pieces.length === 0 && rate.microsPerByte === 0 && !this.#limited) return;
    const shape = shapeOf(batch, entry);
    if (!shape) return;
    if (session.pieces.length === 0 && this.#passes(session, rate, shape)) return;
    if (this.#hold(session, rate, shape)) decide(this.#lanes, batch, entry, Verdict.held);
    else decide(this.#lanes, batch, entry, Verdict.pacerFull, shape.segments);
  }

  #session(slot: number): Session {
    let session = this.#sessions.get(slot);
    if (!session) {
      session = { slot, pieces: [], cost: 0, sustained: 0, peak: 0, deficit: 0, call: 0, passed: 0, place: 'none' };
      this.#sessions.set(slot, session);
    }
    return session;
  }

  #passes(session: Session, rate: Rate, shape: Shape): boolean {
    const { length } = shape.bytes;
    if (session.call !== this.#call) {
      session.call = this.#call;
      session.passed = 0;
    }
    if (this.#limited && session.passed + length > this.#quantum) return false;
    if (rate.microsPerByte > 0) {
      if (shape.segments > this.#segmentsOf(rate, shape)) return false;
      const wire = wireOf(shape, 0, shape.segments);
      this.#settle(session, rate, wire);
      if (departureOf(session) > this.#now) return false;
      this.#advance(session, rate, wire);
    }
    session.passed += length;
    this.#left -= length;
    return true;
  }

  /** A session at rest has saved one train, less what is to leave now. */
  #settle(session: Session, rate: Rate, wire: number): void {
    const saved = Math.max(0, rate.train - wire) * rate.microsPerByte;
    session.sustained = Math.max(session.sustained, this.#now - saved);
  }

  #advance(session: Session, rate: Rate, wire: number): void {
    const each = rate.microsPerByte * PEAK;
    session.sustained = Math.max(session.sustained, this.#now - LATE) + wire * rate.microsPerByte;
    session.peak = Math.max(session.peak, this.#now - Math.max(0, rate.train - wire) * each) + wire * each;
  }

  #hold(session: Session, rate: Rate, shape: Shape): boolean {
    const { segments, columns } = shape;
    const each = this.#segmentsOf(rate, shape);
    const pieces = Math.ceil(segments / each);
    const cost = lengthOf(shape, 0, segments) + pieces * PIECE_COST;
    if (session.cost + cost > rate.bound || pieces > MOST_PIECES - this.#pieces) return false;
    if (session.pieces.length === 0 && rate.microsPerByte > 0)
      this.#settle(session, rate, wireOf(shape, 0, Math.min(each, segments)));
    for (let first = 0; first < segments; first += each) {
      const some = Math.min(each, segments - first);
      const bytes = shape.cut ? slice(shape.bytes, 0, shape.bytes.length, shape.cut, first, some) : shape.bytes.slice();
      session.pieces.push({ bytes, wire: wireOf(shape, first, some), segments: some, columns });
      session.cost += bytes.length + PIECE_COST;
      this.#cost += bytes.length + PIECE_COST;
      this.#pieces++;
    }
    if (session.place !== 'none') return true;
    if (rate.microsPerByte === 0 || departureOf(session) <= this.#now) this.#activate(session);
    else this.#wait(session);
    return true;
  }

  // ---- departures ----------------------------------------------------------------------------------------------------

  #activate(session: Session): void {
    session.place = 'active';
    this.#active.push(session);
  }

  #wait(session: Session): void {
    session.place = 'waiting';
    this.#waiting.push({ at: departureOf(session), session });
  }

  #wake(): void {
    const due = this.#waiting.filter(({ at }) => at <= this.#now);
    this.#waiting = this.#waiting.filter(({ at }) => at > this.#now);
    due.sort((a, b) => a.at - b.at || a.session.slot - b.session.slot);
    for (const { session } of due) {
      if (session.pieces.length > 0) this.#activate(session);
      else this.#rest(session);
    }
  }

  #serve(session: Session): void {
    const rate = this.#rateOf(session.slot);
    session.deficit = Math.min(session.deficit + this.#quantum, 2 * QUANTUM);
    while (session.pieces.length > 0 && this.#left > 0 && !this.#full()) {
      if (session.pieces[0].bytes.length > session.deficit) break;
      if (rate.microsPerByte > 0 && departureOf(session) > this.#now) {
        session.deficit = 0;
        this.#wait(session);
        return;
      }
      this.#take(session, rate);
    }
    if (session.pieces.length === 0) this.#rest(session);
    else this.#activate(session);
  }

  #take(session: Session, rate: Rate): void {
    const { bytes, wire, columns } = this.#pop(session);
    const released = this.#released;
    const entry = released.header[HEADER.count];
    released.memory.put(session.slot, columns.kind, undefined, bytes);
    released.segmentSize[entry] = columns.segmentSize;
    released.flags[entry] = columns.flags;
    released.checksumStart[entry] = columns.checksumStart;
    released.checksumOffset[entry] = columns.checksumOffset;
    this.#left -= bytes.length;
    session.deficit -= bytes.length;
    if (rate.microsPerByte > 0) this.#advance(session, rate, wire);
  }

  #pop(session: Session): Piece {
    const piece = session.pieces.shift() as Piece;
    session.cost -= piece.bytes.length + PIECE_COST;
    this.#cost -= piece.bytes.length + PIECE_COST;
    this.#pieces--;
    return piece;
  }

  #rest(session: Session): void {
    session.deficit = 0;
    session.place = 'none';
  }

  /** No entry is free, or no block for one of any length. */
  #full(): boolean {
    const { header, capacity, memory } = this.#released;
    return header[HEADER.count] >= capacity || memory.freeBytes() === 0;
  }

  #tell(): void {
    const earliest = Math.min(...this.#waiting.map(({ at }) => at));
    // A session whose pieces were forgotten may still stand in the list: nothing waits, so nothing departs.
    const departure = this.#active.length > 0 ? this.#now : earliest;
    this.state[PACER_STATE.deadline] = this.#pieces === 0 ? Number.POSITIVE_INFINITY : departure;
    this.state[PACER_STATE.pieces] = this.#pieces;
    this.state[PACER_STATE.bytes] = this.#cost;
  }
}

function departureOf(session: Session): Micros {
  return Math.max(session.sustained, session.peak);
}

/** Undefined for what cannot be cut: seal says why. */
function shapeOf(batch: ReferenceBatch, i: number): Shape | undefined {
  const { offset, length, kind, segmentSize, flags, checksumStart, checksumOffset } = batch;
  const bytes = batch.bytes.subarray(offset[i], offset[i] + length[i]);
  const partial = (flags[i] & Flag.needsChecksum) !== 0;
  const columns = {
    kind: kind[i],
    segmentSize: segmentSize[i],
    flags: flags[i] & Flag.needsChecksum,
    checksumStart: checksumStart[i],
    checksumOffset: checksumOffset[i],
  };
  if (kind[i] !== Gso.none) {
    const cut = planCut(bytes, 0, bytes.length, kind[i], segmentSize[i], partial);
    return cut && { bytes, cut, segments: cut.segments, columns };
  }
  if (bytes.length === 0 || (partial && checksumStart[i] + checksumOffset[i] + 2 > bytes.length)) return undefined;
  return { bytes, cut: undefined, segments: 1, columns };
}

/** Inner bytes of `some` segments from `first` on, each with its header. */
function lengthOf({ bytes, cut }: Shape, first: number, some: number): number {
  if (!cut) return bytes.length;
  return (some - 1) * segmentLength(bytes.length, cut, 0) + segmentLength(bytes.length, cut, first + some - 1);
}

function wireOf(shape: Shape, first: number, some: number): number {
  return lengthOf(shape, first, some) + some * OVERHEAD;
}
