/** What an engine did between two looks at its counters: what `ringway top` shows and `--json` prints. */
import { type Micros, SECOND } from '../wire/time.ts';
import {
  type EngineStatistics,
  type ShardStatistics,
  TRAIN_BUCKETS,
  TURN_BUCKETS,
  total,
  turnBucketStart,
} from './statistics.ts';

/** Verdicts that are no drops; every other one is. */
export const NOT_DROPS: readonly string[] = ['pass', 'divert', 'elsewhere', 'handedOver', 'reject', 'held', 'answered'];

export interface Flow {
  /** Inner packets' bits per second: client to internet, internet to client. */
  readonly upBitsPerSecond: number;
  readonly downBitsPerSecond: number;
  /** Datagrams per second from and to the outside; over TCP: packets as they came out of records, superpackets that went in. */
  readonly packetsInPerSecond: number;
  readonly packetsOutPerSecond: number;
  readonly systemCallsPerSecond: number;
  /** Both ways together; null without datagrams, also over TCP, whose system calls are Node's own. */
  readonly packetsPerSystemCall: number | null;
  /** Mean datagrams of a train; null without trains. */
  readonly trainIn: number | null;
  readonly trainOut: number | null;
  readonly handoversPerSecond: number;
  readonly dropsPerSecond: number;
  /** Trains that UDP_SEGMENT was refused for, and superpackets that the TUN device refused: sent again in pieces. */
  readonly gsoRefusedPerSecond: number;
  readonly tunGsoRefusedPerSecond: number;
}

export interface ShardRates extends Flow {
  readonly shard: number;
  readonly sessions: number;
  readonly online: number;
  /** Share of a core, 0 to 1. */
  readonly cpu: number;
}

export interface StageRates {
  readonly stage: string;
  readonly vectorsPerSecond: number;
  readonly entriesPerSecond: number;
  readonly entriesPerVector: number | null;
  /** From the turns that were timed; null when none was. */
  readonly nanosPerEntry: number | null;
  /** Share of one thread's time that goes by in this stage, estimated from the timed turns; waits for the kernel and for the CPU are in it. */
  readonly busy: number | null;
  readonly dropsPerSecond: number;
}

export interface Rates extends Flow {
  /** Between the two looks. */
  readonly seconds: number;
  readonly sessions: number;
  readonly online: number;
  readonly assignedAddresses: number | null;
  /** Packets and superpackets the kernel dropped at the TUN device; in none of the other drops. Null where it does not say. */
  readonly tunDroppedPerSecond: number | null;
  /** Cores in use by the whole process, and by its main thread alone. */
  readonly cpu: number;
  readonly mainCpu: number;
  readonly residentBytes: number;
  /** How long turns with work took, at most: what a packet may wait for its turn. Null without any. */
  readonly turnP50: Micros | null;
  readonly turnP99: Micros | null;
  /** Per second, by reason; reasons without a drop since the look before are left out. */
  readonly drops: Readonly<Record<string, number>>;
  /** Trains per second by length. */
  readonly trainsIn: Readonly<Record<string, number>>;
  readonly trainsOut: Readonly<Record<string, number>>;
  readonly shards: readonly ShardRates[];
  readonly stages: readonly StageRates[];
}

/**
 * @param role which way is up
 * @param before undefined: rates since the engine started, as far as that can be known; they are zero
 */
export function ratesBetween(
  role: 'server' | 'client',
  before: EngineStatistics | undefined,
  now: EngineStatistics,
): Rates {
  const seconds = before ? Math.max(1e-6, (now.at - before.at) / SECOND) : 0;
  const pairs = now.shards.map((shard) =>
    pair(
      before?.shards.find((other) => other.shard === shard.shard),
      shard,
    ),
  );
  const share = (micros: number, was: number | undefined) =>
    seconds === 0 ? 0 : grown(was ?? micros, micros) / (seconds * SECOND);
  const stages = now.shards[0]?.stages.map(({ stage }) => stage) ?? [];
  return {
    seconds,
    ...flow(role, seconds, pairs),
    sessions: total(now, (shard) => shard.sessions),
    online: total(now, (shard) => shard.online),
    assignedAddresses: now.assignedAddresses,
    tunDroppedPerSecond: deviceDrops(seconds, before?.tunDropped, now.tunDropped),
    cpu: share(now.cpuMicros, before?.cpuMicros),
    mainCpu: share(now.mainCpuMicros, before?.mainCpuMicros),
    residentBytes: now.residentBytes,
    turnP50: turnQuantile(pairs, 0.5),
    turnP99: turnQuantile(pairs, 0.99),
    drops: dropRates(seconds, pairs),
    trainsIn: lengthRates(seconds, pairs, (shard) => shard.trainsIn),
    trainsOut: lengthRates(seconds, pairs, (shard) => shard.trainsOut),
    shards: pairs.map((each) => ({
      shard: each.now.shard,
      sessions: each.now.sessions,
      online: each.now.online,
      cpu: share(each.now.cpuMicros, each.before?.cpuMicros),
      ...flow(role, seconds, [each]),
    })),
    stages: stages.map((stage) => stageRates(stage, seconds, pairs)),
  };
}

/** Neither is a number where nothing is known of it; an engine of an older release does not tell. */
function deviceDrops(seconds: number, before: number | null | undefined, now: number | null | undefined) {
  if (typeof now !== 'number') return null;
  return seconds === 0 ? 0 : grown(before ?? now, now) / seconds;
}

interface Pair {
  /** undefined: nothing is known of before, so nothing has grown. */
  readonly before: ShardStatistics | undefined;
  readonly now: ShardStatistics;
}

const ZERO = {
  port: {},
  verdicts: {},
  control: {},
  stages: [],
  turnTimes: [],
  trainsIn: [],
  trainsOut: [],
  cpuMicros: 0,
  turns: 0,
};

/** A shard that was started again, or an engine that was, counts from zero. */
function pair(before: ShardStatistics | undefined, now: ShardStatistics): Pair {
  const again = before !== undefined && now.turns < before.turns;
  return { before: again ? { ...now, ...ZERO } : before, now };
}

function grown(before: number, now: number): number {
  return Math.max(0, now - before);
}

type Figure = (shard: ShardStatistics) => number | undefined;

function sum(pairs: readonly Pair[], figure: Figure): number {
  return pairs.reduce((all, { before, now }) => {
    const value = figure(now) ?? 0;
    return all + grown(before ? (figure(before) ?? 0) : value, value);
  }, 0);
}

const stageFigure =
  (name: string, figure: 'vectors' | 'entries' | 'timedEntries' | 'timedMicros'): Figure =>
  (shard) =>
    shard.stages.find(({ stage }) => stage === name)?.[figure];

const portFigure =
  (name: string): Figure =>
  (shard) =>
    shard.port[name];

/** Every drop of a shard, whoever counted it. */
export function dropsOf(shard: ShardStatistics): Record<string, number> {
  return Object.fromEntries(Object.entries(shard.verdicts).filter(([name]) => !NOT_DROPS.includes(name)));
}

function flow(role: 'server' | 'client', seconds: number, pairs: readonly Pair[]): Flow {
  const count = (figure: Figure) => sum(pairs, figure);
  const rate = (figure: Figure) => (seconds === 0 ? 0 : count(figure) / seconds);
  const [up, down] = role === 'server' ? ['tunBytesOut', 'tunBytesIn'] : ['tunBytesIn', 'tunBytesOut'];
  const [datagramsIn, datagramsOut] = [count(portFigure('udpDatagramsIn')), count(portFigure('udpDatagramsOut'))];
  const datagrams = datagramsIn + datagramsOut;
  const [trainsIn, trainsOut] = [count(portFigure('udpTrainsIn')), count(portFigure('udpTrainsOut'))];
  const calls = count(portFigure('systemCalls'));
  const perSecond = (value: number) => (seconds === 0 ? 0 : value / seconds);
  return {
    upBitsPerSecond: rate(portFigure(up)) * 8,
    downBitsPerSecond: rate(portFigure(down)) * 8,
    packetsInPerSecond: datagrams > 0 ? perSecond(datagramsIn) : rate(stageFigure('guard.admit', 'entries')),
    packetsOutPerSecond: datagrams > 0 ? perSecond(datagramsOut) : rate(stageFigure('lanes.seal', 'entries')),
    systemCallsPerSecond: perSecond(calls),
    packetsPerSystemCall: datagrams > 0 && calls > 0 ? datagrams / calls : null,
    trainIn: trainsIn > 0 ? datagramsIn / trainsIn : null,
    trainOut: trainsOut > 0 ? datagramsOut / trainsOut : null,
    handoversPerSecond: rate((shard) => shard.verdicts.handedOver),
    dropsPerSecond: rate((shard) => Object.values(dropsOf(shard)).reduce((all, times) => all + times, 0)),
    gsoRefusedPerSecond: rate(portFigure('gsoRefused')),
    tunGsoRefusedPerSecond: rate(portFigure('tunGsoRefused')),
  };
}

function dropRates(seconds: number, pairs: readonly Pair[]): Record<string, number> {
  const reasons = new Set(pairs.flatMap(({ now }) => Object.keys(dropsOf(now))));
  const rates: Record<string, number> = {};
  for (const reason of reasons) {
    const times = sum(pairs, (shard) => shard.verdicts[reason]);
    if (times > 0 && seconds > 0) rates[reason] = times / seconds;
  }
  return rates;
}

/** Upper end of the bucket in which that share of the turns is reached. */
function turnQuantile(pairs: readonly Pair[], share: number): Micros | null {
  const counts = Array.from({ length: TURN_BUCKETS }, (_, i) => sum(pairs, ({ turnTimes }) => turnTimes[i]));
  const wanted = counts.reduce((all, each) => all + each, 0) * share;
  if (wanted === 0) return null;
  let reached = 0;
  const bucket = counts.findIndex((count) => {
    reached += count;
    return reached >= wanted;
  });
  return turnBucketStart(bucket + 1);
}

function lengthRates(
  seconds: number,
  pairs: readonly Pair[],
  lengths: (shard: ShardStatistics) => readonly number[],
): Record<string, number> {
  return Object.fromEntries(
    TRAIN_BUCKETS.map((bucket, i) => [bucket, seconds === 0 ? 0 : sum(pairs, (shard) => lengths(shard)[i]) / seconds]),
  );
}

function stageRates(stage: string, seconds: number, pairs: readonly Pair[]): StageRates {
  const count = (figure: 'vectors' | 'entries' | 'timedEntries' | 'timedMicros') =>
    sum(pairs, stageFigure(stage, figure));
  const [vectors, entries, timed] = [count('vectors'), count('entries'), count('timedEntries')];
  const drops = sum(pairs, (shard) =>
    Object.values(shard.stages.find((other) => other.stage === stage)?.drops ?? {}).reduce(
      (all, each) => all + each,
      0,
    ),
  );
  const perSecond = (value: number) => (seconds === 0 ? 0 : value / seconds);
  const nanos = timed > 0 ? (count('timedMicros') * 1000) / timed : null;
  return {
    stage,
    vectorsPerSecond: perSecond(vectors),
    entriesPerSecond: perSecond(entries),
    entriesPerVector: vectors > 0 ? entries / vectors : null,
    nanosPerEntry: nanos,
    busy: nanos === null ? null : (perSecond(entries) * nanos) / 1e9,
    dropsPerSecond: perSecond(drops),
  };
}
