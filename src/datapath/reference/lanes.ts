/** What the reference nodes of one shard share: the counterpart of the addon's lanes. */
import { type Micros, MS } from '../../wire/time.ts';
import { type Batch, FIRST_DROP, VERDICTS, Verdict } from '../batch.ts';
import type { IndexKind } from '../index-map.ts';
import { segmentsIn } from '../inner-packets.ts';
import { SlotState } from '../layout.ts';
import { ARRIVAL, createLimits, HELLOS } from '../limits.ts';
import type { SessionTable } from '../table.ts';
import type { SecretTable } from './secrets.ts';

export interface ReferenceLanes {
  readonly table: SessionTable;
  readonly secrets: SecretTable;
  readonly index: { get(kind: IndexKind, key: Uint8Array): number };
  readonly shard: number;
  readonly shards: number;
  /** Slots of another generation are another engine's. */
  readonly generation: number;
  /** The client's only slot, or −1. */
  readonly single: number;
  /** Per verdict. */
  readonly counters: BigUint64Array;
  readonly limits: Uint32Array;
  readonly arrivals: Uint32Array;
}

export function createReferenceLanes(
  options: Pick<ReferenceLanes, 'table' | 'secrets' | 'index' | 'shard' | 'shards' | 'generation'> & {
    single?: number;
  },
): ReferenceLanes {
  const counters = new BigUint64Array(VERDICTS.length);
  return { single: -1, ...options, counters, ...createLimits(options.table.slots) };
}

export function count(lanes: ReferenceLanes, verdict: number, by = 1): void {
  lanes.counters[verdict] += BigInt(by);
}

/** Gives an entry its verdict and counts it. */
export function decide(lanes: ReferenceLanes, batch: Batch, entry: number, verdict: number, by = 1): void {
  batch.verdict[entry] = verdict;
  count(lanes, verdict, by);
}

/** The same for a superpacket: a drop counts as many packets as it is of. */
export function decideSuperpacket(lanes: ReferenceLanes, batch: Batch, entry: number, verdict: number): void {
  decide(lanes, batch, entry, verdict, verdict >= FIRST_DROP ? segmentsIn(batch, entry) : 1);
}

/** The entry's slot, or −1 when it is none of the table. */
export function slotOf(lanes: ReferenceLanes, batch: Batch, entry: number): number {
  const slot = batch.slot[entry];
  return slot >= 0 && slot < lanes.table.slots ? slot : -1;
}

export function isOnline(lanes: ReferenceLanes, slot: number): boolean {
  return lanes.table.fields.state.get(slot) === SlotState.online;
}

export function isSuperseded(lanes: ReferenceLanes, slot: number): boolean {
  return lanes.table.fields.generation.get(slot) !== lanes.generation;
}

/** A slot the index names, or −1 for one that is free or none. */
export function occupied(lanes: ReferenceLanes, slot: number): number {
  if (slot < 0 || slot >= lanes.table.slots) return -1;
  return lanes.table.fields.state.get(slot) === SlotState.free ? -1 : slot;
}

/** Entries that pass, for the return value of a node. */
export function passing(batch: Batch, entries: number): number {
  let found = 0;
  for (let i = 0; i < entries; i++) if (batch.verdict[i] === Verdict.pass) found++;
  return found;
}

/** May session.control hear a ClientHello for this slot, whose session is Online? */
export function hearsHello({ arrivals }: ReferenceLanes, slot: number, now: Micros): boolean {
  const at = slot * ARRIVAL.words + ARRIVAL.helloDue;
  const tick = Math.floor(now / MS) >>> 0;
  let ahead = (arrivals[at] - tick) >>> 0; // modulo 2^32
  if (ahead > HELLOS.every * HELLOS.burst) ahead = 0; // it lies in the past
  if (ahead > HELLOS.every * (HELLOS.burst - 1)) return false;
  arrivals[at] = tick + ahead + HELLOS.every;
  return true;
}
