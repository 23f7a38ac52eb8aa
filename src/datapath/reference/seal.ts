/**
 * lanes.seal: superpackets → segments → datagrams → trains. Works in the order of the file: which path a session's packets take, how a superpacket is
 * cut, how many of them are sure to fit, and which datagrams share a train; then numbers are claimed and everything is sealed.
 */
import { writeU16 } from '../../packet/checksum.ts';
import { type Cut, segmentLength } from '../../packet/segment.ts';
import { DataOffset } from '../../wire/expresslane.ts';
import type { Micros } from '../../wire/time.ts';
import { type Batch, Flag, HEADER, Kind, Verdict } from '../batch.ts';
import { cutOf, innerPackets } from '../inner-packets.ts';
import { SlotFlag } from '../layout.ts';
import { aeadSeal, TAG_LENGTH } from './aead.ts';
import { count, decideSuperpacket, isOnline, isSuperseded, type ReferenceLanes, slotOf } from './lanes.ts';
import { LIGHTWAY_HEADER, Lightway } from './lightway.ts';
import type { ReferenceBatch } from './memory.ts';
import { RECORD_HEADER, sealRecord } from './records.ts';
import type { RecordSecret } from './secrets.ts';

const AES_256 = 0x1302;
/** What one UDP_SEGMENT send may hold (linux-facts §3: above it the kernel segments in software). */
const MAX_TRAIN = 65_000;
/** Plaintext of one DTLS record (RFC 9147 §4). */
const MAX_RECORD_CONTENT = 16_384;
const DATA_FRAME = 0x05;
const DATA_HEADER = 3;
/** Record numbers have 48 bits (RFC 9147 §4): keys change long before. */
const RECORD_NUMBERS = 2 ** 48;

/** `stream`: plain Data frames for a TCP session, which TLS seals later. */
type Path =
  | { readonly kind: 'stream' }
  | { readonly kind: 'lane'; readonly key: Uint8Array; readonly salt: Uint8Array }
  | { readonly kind: 'record'; readonly secret: RecordSecret };

/** A superpacket that will leave. `cut` undefined: it is one segment, as it is. */
interface Job {
  readonly entry: number;
  readonly slot: number;
  readonly path: Path;
  readonly cut: Cut | undefined;
}

/** Inner packets that become the datagrams of one train, or the frames of one piece of stream. */
interface Train {
  readonly slot: number;
  readonly path: Path;
  readonly packets: Uint8Array[];
  /** Sealed bytes of the first datagram, and of all. */
  readonly size: number;
  bytes: number;
  /** A smaller datagram came last: nothing may follow. */
  full: boolean;
}

/**
 * Seals what passes, appended to `trains`. Numbers are claimed before anything is sealed, so that none is ever used twice. Stops before the
 * first superpacket that might not fit. Never throws. @param maxSegments datagrams in a train, 1 to 128 @returns superpackets consumed so far
 */
export function seal(
  lanes: ReferenceLanes,
  superpackets: ReferenceBatch,
  trains: ReferenceBatch,
  maxSegments: number,
  now: Micros,
): number {
  const jobs = takeable(lanes, superpackets, trains, maxSegments);
  for (const [slot, ofSlot] of Map.groupBy(jobs, (job) => job.slot)) {
    const most = segmentsPerTrain(lanes, slot, maxSegments);
    for (const train of formTrains(superpackets, ofSlot, most)) sealTrain(lanes, trains, train);
    lanes.table.fields.lastInside.set(slot, now);
  }
  return superpackets.header[HEADER.consumed];
}

// ---- what to take ---------------------------------------------------------------------------------------------------

function takeable(
  lanes: ReferenceLanes,
  superpackets: ReferenceBatch,
  trains: ReferenceBatch,
  maxSegments: number,
): Job[] {
  const jobs: Job[] = [];
  let entries = trains.capacity - trains.header[HEADER.count];
  let room = trains.memory.freeBytes() / 2;
  let i = superpackets.header[HEADER.consumed];
  for (; i < superpackets.header[HEADER.count]; i++) {
    if (superpackets.verdict[i] !== Verdict.pass) continue;
    const job = plan(lanes, superpackets, i);
    const need = typeof job === 'number' ? undefined : needOf(lanes, superpackets, job, maxSegments);
    if (typeof job === 'number' || need === undefined) {
      decideSuperpacket(lanes, superpackets, i, typeof job === 'number' ? job : Verdict.tooLarge);
      continue;
    }
    if (need.entries > trains.capacity || need.bytes > trains.memory.totalBytes / 2) {
      decideSuperpacket(lanes, superpackets, i, Verdict.tooLarge);
      continue;
    }
    if (need.entries > entries || need.bytes > room) break;
    entries -= need.entries;
    room -= need.bytes;
    jobs.push(job);
  }
  superpackets.header[HEADER.consumed] = i;
  return jobs;
}

/** @returns the job, or the verdict against it */
function plan(lanes: ReferenceLanes, superpackets: Batch, entry: number): Job | number {
  const slot = slotOf(lanes, superpackets, entry);
  if (slot < 0) return Verdict.noRoute;
  if (isSuperseded(lanes, slot)) return Verdict.superseded;
  if (!isOnline(lanes, slot)) return Verdict.notOnline;
  const path = pathOf(lanes, slot);
  if (!path) return Verdict.noKey;
  const cut = cutOf(superpackets, entry);
  return cut === false ? Verdict.badGso : { entry, slot, path, cut };
}

function pathOf({ table, secrets }: ReferenceLanes, slot: number): Path | undefined {
  const flags = table.fields.flags.get(slot);
  if ((flags & SlotFlag.stream) !== 0) return { kind: 'stream' };
  const key = (flags & SlotFlag.expresslane) !== 0 ? secrets.laneKey(slot, 'laneSend') : undefined;
  if (key) return { kind: 'lane', key, salt: secrets.laneSalt(slot, 'laneSend') };
  const epoch = table.fields.sendEpoch.get(slot);
  const secret = secrets.record(slot, 'send', epoch);
  return secret && table.fields.recordSendCounter.get(slot, epoch & 3) < RECORD_NUMBERS
    ? { kind: 'record', secret }
    : undefined;
}

/** Entries and bytes that a superpacket is sure not to exceed. @returns undefined when a segment of it is too large for its path */
function needOf(
  lanes: ReferenceLanes,
  { length }: Batch,
  { entry, slot, path, cut }: Job,
  maxSegments: number,
): { entries: number; bytes: number } | undefined {
  const total = length[entry];
  const segments = cut ? cut.segments : 1;
  const largest = cut ? segmentLength(total, cut, 0) : total;
  if (!fitsPath(path, largest)) return undefined;
  let sealed = 0;
  for (let i = 0; i < segments; i++) sealed += sealedLength(path, cut ? segmentLength(total, cut, i) : total);
  const most = Math.min(
    segmentsPerTrain(lanes, slot, maxSegments),
    Math.floor(MAX_TRAIN / sealedLength(path, largest)),
  );
  return { entries: Math.ceil(segments / Math.max(1, most)) + 1, bytes: Math.ceil(sealed / 64) * 64 + 64 };
}

function fitsPath(path: Path, length: number): boolean {
  if (path.kind === 'record') return length + DATA_HEADER <= MAX_RECORD_CONTENT;
  return sealedLength(path, length) <= MAX_TRAIN;
}

/** Bytes that one inner packet of `length` takes outside. */
function sealedLength(path: Path, length: number): number {
  if (path.kind === 'stream') return DATA_HEADER + length;
  if (path.kind === 'lane') return LIGHTWAY_HEADER + DataOffset.ciphertext + length;
  return LIGHTWAY_HEADER + RECORD_HEADER + DATA_HEADER + length + 1 + TAG_LENGTH;
}

function segmentsPerTrain({ table }: ReferenceLanes, slot: number, maxSegments: number): number {
  return (table.fields.flags.get(slot) & SlotFlag.noGso) !== 0 ? 1 : maxSegments;
}

// ---- cutting, and which datagrams share a train -----------------------------------------------------------------------

/** @param most datagrams in a train; a piece of stream is bounded by its bytes only */
function formTrains(superpackets: Batch, jobs: readonly Job[], most: number): Train[] {
  const trains: Train[] = [];
  for (const job of jobs) {
    for (const packet of innerPackets(superpackets, job.entry, job.cut)) {
      const size = sealedLength(job.path, packet.length);
      const last = trains.at(-1);
      if (!last || !joins(last, size, most)) {
        trains.push({ slot: job.slot, path: job.path, packets: [packet], size, bytes: size, full: false });
        continue;
      }
      last.packets.push(packet);
      last.bytes += size;
      last.full = size < last.size;
    }
  }
  return trains;
}

function joins(train: Train, size: number, most: number): boolean {
  if (train.bytes + size > MAX_TRAIN) return false;
  return train.path.kind === 'stream' || (!train.full && size <= train.size && train.packets.length < most);
}

// ---- sealing ----------------------------------------------------------------------------------------------------------

function sealTrain(lanes: ReferenceLanes, trains: ReferenceBatch, train: Train): void {
  const { table } = lanes;
  const { slot, path, packets, size } = train;
  const first = claim(lanes, slot, path, packets.length);
  const sealed = new Uint8Array(train.bytes);
  let at = 0;
  packets.forEach((packet, i) => {
    if (path.kind === 'stream') at = writeFrame(sealed, at, packet);
    else {
      writeHeader(lanes, sealed, at, slot, path.kind === 'lane');
      if (path.kind === 'lane') sealLane(lanes, sealed, at, slot, path, first + BigInt(i), packet);
      else sealRecord(sealed, at + LIGHTWAY_HEADER, path.secret, Number(first) + i, dataRecord(packet));
      at += sealedLength(path, packet.length);
    }
  });
  const entry = trains.header[HEADER.count];
  if (!trains.memory.put(slot, path.kind === 'stream' ? 1 : 0, table.fields.remote.view(slot), sealed))
    return count(lanes, Verdict.noBlock, packets.length); // larger than a block
  trains.segmentSize[entry] = packets.length > 1 && path.kind !== 'stream' ? size : 0;
  trains.counter[entry] = first;
  trains.epoch[entry] = path.kind === 'record' ? path.secret.epoch : 0;
  trains.flags[entry] = path.kind === 'lane' ? Flag.expresslane : 0;
  countSealed(lanes, train);
}

/** @returns the number of the first datagram */
function claim({ table }: ReferenceLanes, slot: number, path: Path, numbers: number): bigint {
  if (path.kind === 'stream') return 0n;
  if (path.kind === 'lane') return table.fields.laneSendCounter.claim(slot, numbers) + 1n;
  return table.fields.recordSendCounter.claim(slot, numbers, path.secret.epoch & 3);
}

function writeHeader({ table }: ReferenceLanes, target: Uint8Array, at: number, slot: number, lane: boolean): void {
  target[at] = 0x48;
  target[at + 1] = 0x65;
  target[at + Lightway.major] = table.fields.versionMajor.get(slot);
  target[at + Lightway.minor] = table.fields.versionMinor.get(slot);
  target[at + Lightway.expresslane] = lane ? 1 : 0;
  target.set(table.fields.sendId.view(slot), at + Lightway.id);
}

/** Protocol specification §6.5; IV = salt ‖ counter, so that none repeats under a key. */
function sealLane(
  { table }: ReferenceLanes,
  target: Uint8Array,
  header: number,
  slot: number,
  { key, salt }: Path & { kind: 'lane' },
  counter: bigint,
  packet: Uint8Array,
): void {
  const at = header + LIGHTWAY_HEADER;
  new DataView(target.buffer).setBigUint64(at + DataOffset.counter, counter);
  target.set(salt, at + DataOffset.iv);
  new DataView(target.buffer).setBigUint64(at + DataOffset.iv + salt.length, counter);
  writeU16(target, at + DataOffset.length, packet.length);
  const withFlags = (table.fields.flags.get(slot) & SlotFlag.aadFlags) !== 0;
  const aad = new Uint8Array(withFlags ? 18 : 16); // the flags themselves are 0
  aad.set(target.subarray(header + Lightway.id, at + DataOffset.iv));
  const sealed = aeadSeal(AES_256, key, target.slice(at + DataOffset.iv, at + DataOffset.tag), aad, packet);
  target.set(sealed.subarray(0, packet.length), at + DataOffset.ciphertext);
  target.set(sealed.subarray(packet.length), at + DataOffset.tag);
}

function writeFrame(target: Uint8Array, at: number, packet: Uint8Array): number {
  target[at] = DATA_FRAME;
  writeU16(target, at + 1, packet.length);
  target.set(packet, at + DATA_HEADER);
  return at + DATA_HEADER + packet.length;
}

/** A Data frame and the content type behind it. */
function dataRecord(packet: Uint8Array): Uint8Array {
  const inner = new Uint8Array(DATA_HEADER + packet.length + 1);
  inner[writeFrame(inner, 0, packet)] = Kind.application;
  return inner;
}

function countSealed({ table }: ReferenceLanes, { slot, path, packets }: Train): void {
  const { packetsSealed, bytesSealed, laneSent } = table.fields;
  packetsSealed.set(slot, packetsSealed.get(slot) + packets.length);
  bytesSealed.set(
    slot,
    packets.reduce((sum, packet) => sum + packet.length, bytesSealed.get(slot)),
  );
  if (path.kind === 'lane') laneSent.set(slot, laneSent.get(slot) + packets.length);
}
