/** Makes a result of what a run left behind at both ends. */
import { MOST_SEGMENTS } from '../datapath/backends.ts';
import type { EngineStatistics } from '../observe/statistics.ts';
import { type Micros, SECOND } from '../wire/time.ts';
import { summarise } from './buckets.ts';
import type { CrewLook } from './crew.ts';
import { jainIndex } from './fairness.ts';
import { busiest, coreShares, type coreTicks, machine } from './kernel.ts';
import { type Lag, worstLag } from './lag.ts';
import { balance } from './ledger.ts';
import { type Look as DropLook, findLosses } from './losses.ts';
import { type DirectionResult, RESULT_VERSION, type Result } from './result.ts';
import { describeSizes, MAX_BURST, type Scenario } from './scenario.ts';
import { lengthOf, receivedTrains, sentTrains } from './snapshots.ts';
import { saturatedStage } from './sweep.ts';
import type { Snapshot } from './traffic.ts';
import { formatRate, formatTime } from './units.ts';

/** Above this share of due trains not sent, or of the loader's own core, a run is not valid. */
const MOST_LAG = 0.01;
const MOST_BUSY = 0.9;

/** What has been spent and counted by a moment. */
export interface Mark {
  readonly at: Micros;
  readonly server: ReadonlyMap<number, number> | undefined;
  readonly threads: readonly number[];
  readonly crew: Snapshot;
  readonly sink: Snapshot;
  readonly cores: ReturnType<typeof coreTicks>;
}

/** Client by client, in the order of their numbers. */
export interface Columns {
  readonly sent: readonly number[];
  readonly measuredBytes: readonly number[];
}

export interface Evidence {
  readonly scenario: Scenario;
  /** What is known beforehand: title, command ... */
  readonly heading: Pick<Result, 'title' | 'command' | 'release' | 'subject'>;
  readonly configuration: Readonly<Record<string, string>>;
  readonly sameClock: boolean;
  readonly serverPort: number;
  readonly sinkPort: number;
  readonly loginSeconds: number;
  readonly lag: Lag;
  readonly endedEarly: boolean;
  /** Seconds of the measured part. */
  readonly measured: number;
  /** Ends of the measured part. */
  readonly first: Mark;
  readonly last: Mark;
  /** Before the first packet, and after the last. */
  readonly before: DropLook;
  readonly after: DropLook;
  /** Datagrams the loader had sent when `before` was taken. */
  readonly sentBefore: number;
  readonly crew: CrewLook;
  readonly sink: Snapshot;
  readonly columns: { readonly loader: Columns; readonly sink: Columns; readonly online: readonly number[] };
  readonly series: Result['series'];
}

export function assess(evidence: Evidence): Result {
  const { scenario, crew, first, last, lag, endedEarly, measured, heading } = evidence;
  const seconds = Math.max(0.001, (last.at - first.at) / SECOND);
  const uplink = scenario.direction === 'download' ? null : direction(evidence, 'up');
  const downlink = scenario.direction === 'upload' ? null : direction(evidence, 'down');
  const busy = Math.max(...last.threads.map((spent, i) => (spent - first.threads[i]) / seconds));
  const server = first.server && last.server ? sumOf(last.server) - sumOf(first.server) : null;
  const serverBusy = first.server && last.server ? busiest(first.server, last.server, seconds) : 0;
  const sink = last.sink.cpuSeconds - first.sink.cpuSeconds;
  const carried = deliveredBytes(last) - deliveredBytes(first);
  const saturated = saturatedStage({
    lag: lag.up ?? 0,
    sinkLag: lag.down ?? 0,
    loaderBusy: busy,
    sinkBusy: sink / seconds,
    serverBusy,
    losses: [...(uplink?.losses ?? []), ...(downlink?.losses ?? [])],
    machineBusy: mean(coreShares(first.cores, last.cores)),
  });
  return {
    format: 'ringway-load',
    version: RESULT_VERSION,
    ...heading,
    started: new Date().toISOString().replace(/T(.{8}).*/, ' $1Z'),
    scenario,
    endedEarly,
    invalid: doubts(evidence, busy),
    measuredSeconds: measured,
    clients: {
      wanted: scenario.clients,
      online: crew.online,
      lost: crew.lost,
      failed: { ...crew.failed },
      loginSeconds: evidence.loginSeconds,
    },
    uplink,
    downlink,
    generator: {
      lag: worstLag(lag),
      delay: summarise(crew.snapshot.histograms.delay),
      busy,
      cpuSeconds: crew.snapshot.cpuSeconds,
    },
    cpu: {
      cores: last.cores.length,
      server,
      sink,
      serverPerGb: server !== null && carried > 0 ? server / (carried / 1e9) : null,
    },
    saturated,
    shards: shardGrowth(evidence.before.statistics, evidence.after.statistics),
    series: evidence.series,
    machine: machine(),
    configuration: {
      ...describe(scenario),
      ...evidence.configuration,
      'server busy': server === null ? 'not visible from here' : `busiest thread ${(serverBusy * 100).toFixed(0)} %`,
    },
  };
}

/** Why the figures of a run must not be trusted. */
function doubts({ scenario, crew, lag }: Evidence, busy: number): string[] {
  const failed = Object.values(crew.failed).reduce((sum, each) => sum + each, 0) - crew.lost;
  const missing = scenario.clients - crew.online - crew.lost;
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
  return [
    ...(['loader', 'sink'] as const).flatMap((who) => {
      const share = who === 'loader' ? lag.up : lag.down;
      if (share === null) return [`how far the ${who} was behind its schedule was not measured`];
      return share !== undefined && share > MOST_LAG ? [`the ${who} was behind its schedule by ${percent(share)}`] : [];
    }),
    ...(busy > MOST_BUSY ? [`the loader's own core was ${percent(busy)} busy`] : []),
    ...(missing > 0 ? [`${missing} of ${scenario.clients} clients were not online (${failed} refused or silent)`] : []),
    ...(crew.lost > 0 ? [`${crew.lost} sessions were lost on the way`] : []),
  ];
}

function direction(evidence: Evidence, way: 'up' | 'down'): DirectionResult {
  const { scenario, crew, sink, columns, measured, before, after, sameClock } = evidence;
  const loader = crew.snapshot;
  const [from, to] = way === 'up' ? [loader, sink] : [sink, loader];
  const [sending, receiving] = way === 'up' ? [columns.loader, columns.sink] : [columns.sink, columns.loader];
  const [trainSent, trainReceived] = [lengthOf(sentTrains(from)), lengthOf(receivedTrains(to))];
  const losses = findLosses(way, before, after, {
    serverPort: evidence.serverPort,
    sinkPort: evidence.sinkPort,
    trains: {
      before: lengths(trainSent, scenario.sizes, MAX_BURST),
      behind: lengths(trainReceived, scenario.sizes, MOST_SEGMENTS),
    },
    loaderVerdicts: loader.verdicts,
    loaderPort: loader.port,
    sinkPortCounters: sink.port,
    datagramsSent: (loader.port.datagramsOut ?? 0) - evidence.sentBefore,
  });
  const offered = sending.sent.reduce((sum, each) => sum + each, 0);
  const ledger = balance(offered, to.totals.delivered, losses);
  const online = receiving.measuredBytes.filter((_, client) => columns.online[client]);
  const clientBits = online.map((bytes) => (bytes * 8) / measured);
  return {
    offeredBits: (from.totals.measuredOfferedBytes * 8) / measured,
    goodputBits: (to.totals.measuredDeliveredBytes * 8) / measured,
    offered: ledger.offered,
    delivered: ledger.delivered,
    duplicates: to.totals.duplicates,
    reordered: to.totals.reordered,
    latencyKind: sameClock ? 'one-way' : 'round trip',
    latency: summarise(sameClock ? to.histograms.oneWay : from.histograms.roundTrip),
    fairness: jainIndex(clientBits),
    clientBits,
    losses: [...ledger.losses],
    unexplained: ledger.unexplained,
    trainSent,
    trainReceived,
  };
}

function describe(scenario: Scenario): Record<string, string> {
  const { clients, rate, sizes, burst, flows, traffic, transport, expresslane, warmup, ramp } = scenario;
  return {
    clients: String(clients),
    'rate of each': rate === null ? 'as fast as possible' : formatRate(rate),
    'packet size': `${describeSizes(sizes)} bytes`,
    'packets due together': String(burst),
    'flows of each': String(flows),
    traffic,
    transport,
    Expresslane: expresslane ? 'on' : 'off',
    'warm-up': formatTime(warmup),
    'logins begun': `${ramp} a second`,
  };
}

const sumOf = (spent: ReadonlyMap<number, number>) => [...spent.values()].reduce((sum, each) => sum + each, 0);
const mean = (values: readonly number[]) => values.reduce((sum, each) => sum + each, 0) / Math.max(1, values.length);
const deliveredBytes = ({ sink, crew }: Mark) => sink.totals.deliveredBytes + crew.totals.deliveredBytes;

/** Mean and longest train: what one kernel call of 65,000 bytes and `most` segments holds. */
function lengths(average: number | null, sizes: readonly number[], most: number): [number, number] {
  const sealed = Math.min(...sizes) + 56; // protocol specification §6.5: header, counter and tag of the Expresslane
  return [Math.max(1, average ?? 1), Math.min(most, Math.floor(65_000 / sealed))];
}

/** Per shard, what its counters have grown by. */
function shardGrowth(before: EngineStatistics | undefined, after: EngineStatistics | undefined) {
  return (after?.shards ?? []).map((shard) => {
    const past = before?.shards.find((other) => other.shard === shard.shard);
    const grown: Record<string, number> = { 'sessions online': shard.online };
    grown['CPU ms'] = Math.round((shard.cpuMicros - (past?.cpuMicros ?? 0)) / 1_000);
    for (const [name, value] of Object.entries(shard.port)) grown[name] = value - (past?.port[name] ?? 0);
    for (const { stage, drops } of shard.stages)
      for (const [reason, count] of Object.entries(drops))
        grown[`${stage} ${reason}`] = count - (past?.stages.find((other) => other.stage === stage)?.drops[reason] ?? 0);
    return Object.fromEntries(Object.entries(grown).filter(([, value]) => value !== 0));
  });
}
