/**
 * lanes.open. A datagram is judged from outside to inside, and the first thing that is wrong with it decides:
 *
 *   header → session → (Expresslane)  length → window → key → tag → window takes it → packet
 *                    → (DTLS)         walk → each record: number → window → tag → window takes it → packet or frames
 *
 * What the walk cannot open here goes to session.control as it came.
 */
import { isClientHello } from '../../dtls/records.ts';
import { readU16 } from '../../packet/checksum.ts';
import { DATA_FLAG_ENCODED, DataOffset } from '../../wire/expresslane.ts';
import type { Micros } from '../../wire/time.ts';
import { Flag, HEADER, Kind, Verdict, wantsControl } from '../batch.ts';
import { SlotFlag, SlotState } from '../layout.ts';
import { isSound } from './admit.ts';
import { aeadOpen } from './aead.ts';
import { count, hearsHello, isOnline, isSuperseded, type ReferenceLanes, slotOf } from './lanes.ts';
import { isEmptyId, judgeHeader, LIGHTWAY_HEADER, Lightway } from './lightway.ts';
import type { ReferenceBatch } from './memory.ts';
import { isWhole, openRecord, type RecordPlace, walkRecords } from './records.ts';
import { laneIsNew, recordIsNew, takeLane, takeRecord } from './windows.ts';

const AES_256 = 0x1302;
/** `05 | len u16`, the frame that carries one inner packet (protocol specification §3.3). */
const DATA_FRAME = 0x05;
const DATA_HEADER = 3;

/** One datagram on its way in. */
interface Datagram {
  readonly train: number;
  readonly at: number;
  readonly length: number;
  readonly slot: number;
  /** Flags of every entry it gives. */
  readonly flags: number;
}

interface Place {
  readonly kind: number;
  readonly verdict: number;
  readonly flags: number;
  readonly counter: bigint;
  readonly epoch: number;
}

/**
 * Fills `packets` with one entry per inner packet or diverted record, in the order they came. Copies what it opens, so `packets` needs an
 * arena with room. Stops before the first datagram whose records might not fit: its train then begins there. Never throws.
 * @returns entries diverted
 */
export function open(lanes: ReferenceLanes, trains: ReferenceBatch, packets: ReferenceBatch, now: Micros): number {
  const opening = new Opening(lanes, trains, packets, now);
  const { header, verdict } = trains;
  for (let train = header[HEADER.consumed]; train < header[HEADER.count]; train++) {
    const taken = verdict[train] === Verdict.pass || verdict[train] === Verdict.divert;
    if (taken && !opening.openTrain(train)) break;
    header[HEADER.consumed] = train + 1;
  }
  return opening.diverted;
}

class Opening {
  diverted = 0;
  readonly #lanes: ReferenceLanes;
  readonly #trains: ReferenceBatch;
  readonly #packets: ReferenceBatch;
  readonly #now: Micros;

  constructor(lanes: ReferenceLanes, trains: ReferenceBatch, packets: ReferenceBatch, now: Micros) {
    this.#lanes = lanes;
    this.#trains = trains;
    this.#packets = packets;
    this.#now = now;
  }

  /** @returns false when `packets` is full: the train then begins with the first datagram that was not opened */
  openTrain(train: number): boolean {
    const { offset, length, segmentSize } = this.#trains;
    if (length[train] === 0) return this.#drop(Verdict.tooShort); // one datagram of no bytes
    const end = offset[train] + length[train];
    const size = segmentSize[train] || length[train];
    for (let at = offset[train]; at < end; at += size) {
      if (!this.#openDatagram(train, at, Math.min(size, end - at))) {
        offset[train] = at;
        length[train] = end - at;
        return false;
      }
    }
    return true;
  }

  /** @returns false when there is no room for what it holds; nothing has happened then */
  #openDatagram(train: number, at: number, length: number): boolean {
    if (this.#free < 1) return false;
    const { bytes } = this.#trains;
    const fault = judgeHeader(bytes, at, length);
    if (fault !== Verdict.pass) return this.#drop(fault);
    if (length === LIGHTWAY_HEADER) return this.#drop(Verdict.tooShort);
    const diverted = this.#trains.verdict[train] === Verdict.divert;
    const slot = diverted ? -1 : slotOf(this.#lanes, this.#trains, train);
    const datagram = { train, at, length, slot, flags: this.#flagsOf(train, at, slot) };
    if (diverted) return this.#divertRaw(datagram, false);
    const refusal = this.#judgeSlot(datagram);
    if (refusal !== Verdict.pass) return this.#drop(refusal);
    const state = this.#lanes.table.fields.state.get(slot);
    if (bytes[at + Lightway.expresslane] !== 0) {
      if (state !== SlotState.online) return this.#drop(Verdict.notOnline);
      return this.#openLane(datagram);
    }
    if (state !== SlotState.linkUp && state !== SlotState.online) return this.#divertRaw(datagram, true);
    return this.#openRecords(datagram);
  }

  #judgeSlot({ at, slot }: Datagram): number {
    if (slot < 0) return Verdict.reject;
    if (isSuperseded(this.#lanes, slot)) return Verdict.superseded;
    const { flags, versionMajor, versionMinor } = this.#lanes.table.fields;
    if ((flags.get(slot) & SlotFlag.client) !== 0 || versionMajor.get(slot) === 0) return Verdict.pass;
    const { bytes } = this.#trains;
    const same =
      bytes[at + Lightway.major] === versionMajor.get(slot) && bytes[at + Lightway.minor] === versionMinor.get(slot);
    return same ? Verdict.pass : Verdict.versionMismatch;
  }

  #flagsOf(train: number, at: number, slot: number): number {
    if (slot < 0) return 0;
    const { bytes, flags } = this.#trains;
    const isNew = !isEmptyId(bytes, at) && !this.#lanes.table.fields.currentId.equals(slot, bytes, at + Lightway.id);
    return (flags[train] & Flag.floating) | (isNew ? Flag.newId : 0);
  }

  #openLane(datagram: Datagram): boolean {
    const { bytes } = this.#trains;
    const { slot } = datagram;
    const at = datagram.at + LIGHTWAY_HEADER;
    const left = datagram.length - LIGHTWAY_HEADER;
    const size = left < DataOffset.ciphertext ? 0 : readU16(bytes, at + DataOffset.length);
    if (left < DataOffset.ciphertext + size) return this.#drop(Verdict.tooShort);
    const { table, secrets } = this.#lanes;
    const counter = new DataView(bytes.buffer, bytes.byteOffset + at).getBigUint64(DataOffset.counter);
    if (!laneIsNew(table, slot, counter)) return this.#drop(Verdict.replayed);
    const key = secrets.laneKey(slot, 'laneReceive');
    if (!key) return this.#drop(Verdict.noKey);
    const previous = secrets.laneKey(slot, 'lanePrevious');
    const packet = this.#tryLane(datagram, size, key) ?? (previous && this.#tryLane(datagram, size, previous));
    if (!packet) return this.#drop(Verdict.forged);
    takeLane(table, slot, counter);
    table.fields.laneReceived.set(slot, table.fields.laneReceived.get(slot) + 1);
    table.fields.lastOutside.set(slot, this.#now);
    if ((readU16(bytes, at + DataOffset.flags) & DATA_FLAG_ENCODED) !== 0) return this.#drop(Verdict.malformed);
    const flags = datagram.flags | Flag.expresslane;
    return this.#give(datagram, packet, { kind: Kind.application, verdict: Verdict.pass, flags, counter, epoch: 0 });
  }

  /** AAD: the id of this datagram's own header, the counter, and with version 2 the flags (protocol specification §6.5). */
  #tryLane({ at: header, slot }: Datagram, size: number, key: Uint8Array): Uint8Array | undefined {
    const { bytes } = this.#trains;
    const at = header + LIGHTWAY_HEADER;
    const withFlags = (this.#lanes.table.fields.flags.get(slot) & SlotFlag.aadFlags) !== 0;
    const aad = new Uint8Array(withFlags ? 18 : 16);
    aad.set(bytes.subarray(header + Lightway.id, at + DataOffset.iv));
    if (withFlags) aad.set(bytes.subarray(at + DataOffset.flags, at + DataOffset.ciphertext), 16);
    const sealed = new Uint8Array(size + DataOffset.length - DataOffset.tag);
    sealed.set(bytes.subarray(at + DataOffset.ciphertext, at + DataOffset.ciphertext + size));
    sealed.set(bytes.subarray(at + DataOffset.tag, at + DataOffset.length), size);
    return aeadOpen(AES_256, key, bytes.subarray(at + DataOffset.iv, at + DataOffset.tag), aad, sealed);
  }

  #openRecords(datagram: Datagram): boolean {
    const { receiveEpochs } = this.#lanes.table.fields;
    const online = isOnline(this.#lanes, datagram.slot);
    if (online && this.#beginsAnew(datagram)) {
      if (hearsHello(this.#lanes, datagram.slot, this.#now)) return this.#divertRaw(datagram, true);
      return this.#drop(Verdict.overload);
    }
    const from = datagram.at + LIGHTWAY_HEADER;
    const { records, wrong } = walkRecords(this.#trains.bytes, from, datagram.at + datagram.length, (bits) =>
      receiveEpochs.get(datagram.slot, bits),
    );
    if (!online && (wrong === 'unprotected' || wrong === 'noKey')) return this.#divertRaw(datagram, true);
    if (this.#free < records.length) return false;
    for (const record of records) {
      const verdict = this.#openRecord(datagram, record);
      if (verdict !== Verdict.pass) this.#drop(verdict);
    }
    return wrong ? this.#drop(Verdict[wrong]) : true;
  }

  /** A client begins anew, from the address of the session it had. */
  #beginsAnew({ at, length, slot, flags }: Datagram): boolean {
    if ((this.#lanes.table.fields.flags.get(slot) & SlotFlag.client) !== 0 || (flags & Flag.floating) !== 0)
      return false;
    return isClientHello(this.#trains.bytes.subarray(at + LIGHTWAY_HEADER, at + length));
  }

  /** @returns pass when it gave an entry, else why it is dropped */
  #openRecord(datagram: Datagram, place: RecordPlace): number {
    const { table, secrets } = this.#lanes;
    const { slot } = datagram;
    const { epoch } = place;
    if (!isWhole(place)) return Verdict.malformed;
    const secret = secrets.record(slot, 'receive', epoch);
    if (!secret) return Verdict.noKey;
    const next = table.fields.recordNext.get(slot, epoch & 3);
    const isNew = (number: number) => recordIsNew(table, slot, epoch, number);
    const record = openRecord(this.#trains.bytes, place, secret, next, isNew);
    if (typeof record === 'string') return Verdict[record];
    takeRecord(table, slot, epoch, record.number);
    table.fields.lastOutside.set(slot, this.#now);
    const { contentType, content } = record;
    if (!DIVERTED_KINDS.has(contentType)) return Verdict.malformed;
    const packet = contentType === Kind.application ? dataOf(content) : undefined;
    if (packet && !isOnline(this.#lanes, slot)) return Verdict.notOnline;
    const verdict = packet ? Verdict.pass : Verdict.divert;
    const counter = BigInt(record.number);
    this.#give(datagram, packet ?? content, { kind: contentType, verdict, flags: datagram.flags, counter, epoch });
    return Verdict.pass;
  }

  /** The whole datagram behind its header, which stays readable in front of the entry. */
  #divertRaw(datagram: Datagram, counted: boolean): boolean {
    const { bytes } = this.#trains;
    const whole = bytes.subarray(datagram.at, datagram.at + datagram.length);
    const place = { kind: Kind.raw, verdict: Verdict.divert, flags: datagram.flags, counter: 0n, epoch: 0 };
    return this.#give(datagram, whole, place, LIGHTWAY_HEADER, counted);
  }

  /** Appends an entry; `skip` bytes of it stay in front. So does the header of a datagram that moves its session or changes its id. */
  #give(datagram: Datagram, content: Uint8Array, place: Place, skip = 0, counted = true): true {
    if (skip === 0 && (place.flags & (Flag.floating | Flag.newId)) !== 0) {
      const whole = new Uint8Array(LIGHTWAY_HEADER + content.length);
      whole.set(this.#trains.bytes.subarray(datagram.at, datagram.at + LIGHTWAY_HEADER));
      whole.set(content, LIGHTWAY_HEADER);
      return this.#give(datagram, whole, place, LIGHTWAY_HEADER, counted);
    }
    const packets = this.#packets;
    const entry = packets.header[HEADER.count];
    if (!packets.memory.put(datagram.slot, place.kind, undefined, content)) return this.#drop(Verdict.noBlock);
    packets.offset[entry] += skip;
    packets.length[entry] -= skip;
    packets.train[entry] = datagram.train;
    packets.flags[entry] = place.flags;
    packets.counter[entry] = place.counter;
    packets.epoch[entry] = place.epoch;
    packets.verdict[entry] = place.verdict;
    if (wantsControl(place.verdict, place.flags)) packets.header[HEADER.wanted]++;
    if (place.verdict === Verdict.divert) {
      this.diverted++;
      if (counted) count(this.#lanes, Verdict.divert);
      return true;
    }
    if (isSound(packets.bytes, packets.offset[entry], packets.length[entry]))
      packets.flags[entry] |= Flag.checksumValid;
    const { packetsOpened, bytesOpened } = this.#lanes.table.fields;
    packetsOpened.set(datagram.slot, packetsOpened.get(datagram.slot) + 1);
    bytesOpened.set(datagram.slot, bytesOpened.get(datagram.slot) + packets.length[entry]);
    return true;
  }

  get #free(): number {
    return this.#packets.capacity - this.#packets.header[HEADER.count];
  }

  #drop(verdict: number): true {
    count(this.#lanes, verdict);
    return true;
  }
}

const DIVERTED_KINDS: ReadonlySet<number> = new Set([Kind.alert, Kind.handshake, Kind.application, Kind.ack]);

/** The packet in a record that is exactly one Data frame. */
function dataOf(content: Uint8Array): Uint8Array | undefined {
  if (content.length < DATA_HEADER || content[0] !== DATA_FRAME) return undefined;
  return readU16(content, 1) === content.length - DATA_HEADER ? content.subarray(DATA_HEADER) : undefined;
}
