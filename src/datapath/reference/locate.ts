import { ADDRESS, type Batch, datagramsOf, Flag, HEADER, Verdict } from '../batch.ts';
import { ARRIVAL, LIMIT, type Limits, NO_LIMIT, PAIL_BYTES } from '../limits.ts';
import { decide, occupied, passing, type ReferenceLanes } from './lanes.ts';
import { isEmptyId, judgeHeader, Lightway } from './lightway.ts';

/**
 * lanes.open, first half: which session each train belongs to. A known outside address decides (protocol specification §7.1),
 * unless the id is another session's; otherwise the header of the first datagram. Sets `slot`, `Flag.floating` and `verdict`. Never throws.
 * @returns trains that still pass
 */
export function locate(lanes: ReferenceLanes, trains: Batch): number {
  const trainCount = trains.header[HEADER.count];
  for (let train = 0; train < trainCount; train++) {
    if (trains.verdict[train] !== Verdict.pass) continue;
    trains.slot[train] = -1;
    const verdict = place(lanes, trains, train);
    if (verdict !== Verdict.pass) decide(lanes, trains, train, verdict, datagramsOf(trains, train));
  }
  return passing(trains, trainCount);
}

function place(lanes: ReferenceLanes, trains: Batch, train: number): number {
  if (lanes.single >= 0) {
    trains.slot[train] = lanes.single;
    return Verdict.pass;
  }
  const at = train * ADDRESS.size;
  const known = occupied(lanes, lanes.index.get('outside', trains.address.subarray(at, at + ADDRESS.key)));
  if (known < 0) {
    const verdict = placeById(lanes, trains, train);
    if (verdict !== Verdict.pass) return verdict;
  } else placeNamed(lanes, trains, train, known);
  if (lanes.table.fields.shard.get(trains.slot[train]) !== lanes.shard) return Verdict.elsewhere;
  return isWithinShare(lanes, trains.slot[train], trains.length[train]) ? Verdict.pass : Verdict.overload;
}

/** Counts a train for its slot. @returns false when it would overflow the slot's pail */
export function isWithinShare({ limits, arrivals }: Limits, slot: number, bytes: number): boolean {
  const at = slot * ARRIVAL.words;
  const rate = limits[LIMIT.rate];
  if (arrivals[at + ARRIVAL.interval] !== limits[LIMIT.interval]) arrivals[at + ARRIVAL.bytes] = 0;
  arrivals[at + ARRIVAL.interval] = limits[LIMIT.interval];
  arrivals[at + ARRIVAL.bytes] = Math.min(arrivals[at + ARRIVAL.bytes] + bytes, NO_LIMIT);
  if (rate === NO_LIMIT) return true;
  const leaked = ((limits[LIMIT.tick] - arrivals[at + ARRIVAL.tick]) >>> 0) * rate;
  const pail = Math.max(0, arrivals[at + ARRIVAL.pail] - leaked);
  const fits = pail + bytes <= PAIL_BYTES;
  arrivals[at + ARRIVAL.tick] = limits[LIMIT.tick];
  arrivals[at + ARRIVAL.pail] = fits ? pail + bytes : pail;
  return fits;
}

function takes({ limits }: ReferenceLanes, which: number, some: number): boolean {
  if (limits[which] === NO_LIMIT) return true;
  if (limits[which] < some) return false;
  limits[which] -= some;
  return true;
}

/**
 * The train of a known address is its session's, unless the id names another that lives. Two clients whose NAT swapped their mappings would
 * else each be taken for the other for ever.
 */
function placeNamed(lanes: ReferenceLanes, trains: Batch, train: number, known: number): void {
  const sound = judgeFirst(trains, train) === Verdict.pass && !isEmptyId(trains.bytes, trains.offset[train]);
  const other = sound ? slotOfId(lanes, trains, train) : -1;
  trains.slot[train] = other < 0 ? known : other;
  if (trains.slot[train] !== known) trains.flags[train] |= Flag.floating;
}

function placeById(lanes: ReferenceLanes, trains: Batch, train: number): number {
  const verdict = judgeFirst(trains, train);
  if (verdict !== Verdict.pass) return verdict;
  if (isEmptyId(trains.bytes, trains.offset[train]))
    return takes(lanes, LIMIT.strangers, datagramsOf(trains, train)) ? Verdict.divert : Verdict.overload;
  const slot = slotOfId(lanes, trains, train);
  if (slot < 0) return takes(lanes, LIMIT.rejects, 1) ? Verdict.reject : Verdict.unknownId;
  trains.slot[train] = slot;
  trains.flags[train] |= Flag.floating;
  return Verdict.pass;
}

/** Judges the header of the first datagram. */
function judgeFirst({ bytes, offset, length, segmentSize }: Batch, train: number): number {
  const first = segmentSize[train] > 0 ? Math.min(segmentSize[train], length[train]) : length[train];
  return judgeHeader(bytes, offset[train], first);
}

function slotOfId(lanes: ReferenceLanes, { bytes, offset }: Batch, train: number): number {
  const at = offset[train] + Lightway.id;
  return occupied(lanes, lanes.index.get('id', bytes.subarray(at, at + 8)));
}
