/** Finds who lost packets: every counter on the way, read before and after a run. */
import { FIRST_DROP, VERDICTS } from '../datapath/batch.ts';
import type { EngineStatistics } from '../observe/statistics.ts';
import type { NetworkDrops } from './kernel.ts';
import type { Found } from './ledger.ts';

/** One hop of the way up as the kernel counts it, and of the way down: device and side. */
interface Hop {
  readonly host: 'loader' | 'server' | 'sink';
  readonly counter: string;
  readonly way: 'up' | 'down';
  /** Before or behind the server: trains are as the sender made them, or as the server did. */
  readonly side: 'before' | 'behind';
  readonly where: string;
}

/** The devices of the lab (`src/lab/hosts.ts`); what carries other names is another host's, and cannot be seen from here. */
export const LAB_HOPS: readonly Hop[] = [
  { host: 'loader', counter: 'c0 tx', way: 'up', side: 'before', where: 'loader device' },
  { host: 'server', counter: 's0 rx', way: 'up', side: 'before', where: 'server device' },
  { host: 'server', counter: 'lws rx', way: 'up', side: 'behind', where: 'server TUN' },
  { host: 'server', counter: 's1 tx', way: 'up', side: 'behind', where: 'server device' },
  { host: 'sink', counter: 'n0 rx', way: 'up', side: 'behind', where: 'sink device' },
  { host: 'sink', counter: 'n0 tx', way: 'down', side: 'before', where: 'sink device' },
  { host: 'server', counter: 's1 rx', way: 'down', side: 'before', where: 'server device' },
  { host: 'server', counter: 'lws tx', way: 'down', side: 'before', where: 'server TUN' },
  { host: 'server', counter: 's0 tx', way: 'down', side: 'behind', where: 'server device' },
  { host: 'loader', counter: 'c0 rx', way: 'down', side: 'behind', where: 'loader device' },
];

export interface Look {
  readonly loader: NetworkDrops;
  readonly server: NetworkDrops | undefined;
  readonly sink: NetworkDrops | undefined;
  /** The server's own counters, where it tells them. */
  readonly statistics: EngineStatistics | undefined;
}

export interface Ends {
  readonly serverPort: number;
  readonly sinkPort: number;
  /** Packets a train, on average and at most: before the server as they were sent, behind it as they came out; at least 1. */
  readonly trains: { readonly before: readonly [number, number]; readonly behind: readonly [number, number] };
  /** Counters of the loader's own datapath and sockets. */
  readonly loaderVerdicts: Readonly<Record<string, number>>;
  readonly loaderPort: Readonly<Record<string, number>>;
  readonly sinkPortCounters: Readonly<Record<string, number>>;
  /** Way up: datagrams that left the loader while the server counted. */
  readonly datagramsSent: number;
}

/** Verdicts of the way up at the loader: what seals. Everything else drops what came down. */
const SEALING: readonly string[] = ['noKey', 'tooLarge', 'badGso', 'noRoute', 'sendFailed'];
/** The server's stages on the way down (`src/datapath/pipeline.ts`); all others are of the way up. */
const DOWNWARD: readonly string[] = ['tun.receive', 'routes.lookup', 'pacer.release', 'lanes.seal', 'udp.transmit'];

/** Packets that a session over TCP would have taken, in the words of `src/datapath/control-counters.ts`. */
const STREAM_DROPS = [
  ['streamFull', 'its buffer is full'],
  ['unknownSlot', 'it has ended'],
] as const;

export function findLosses(way: 'up' | 'down', before: Look, after: Look, ends: Ends): Found[] {
  const found: Found[] = [];
  const exact = (where: string, reason: string, packets: number) => {
    found.push({ where, reason, packets: Math.round(packets), estimated: false, most: 0 });
  };
  const trains = (where: string, reason: string, count: number, side: Hop['side']) => {
    const [mean, longest] = ends.trains[side];
    found.push({ where, reason, packets: count * mean, estimated: true, most: count * longest });
  };
  for (const name of VERDICTS.slice(FIRST_DROP))
    if (SEALING.includes(name) === (way === 'up')) exact('loader', name, ends.loaderVerdicts[name] ?? 0);
  for (const { stage, drops } of stageDrops(before.statistics, after.statistics))
    if (DOWNWARD.includes(stage) === (way === 'down'))
      for (const [reason, packets] of Object.entries(drops))
        if (reason !== 'socketFull') exact('server', `${stage} ${reason}`, packets); // that is the kernel's count, below
  for (const [counter, reason] of STREAM_DROPS) {
    if (way === 'up') exact('loader TCP connection', reason, ends.loaderPort[counter] ?? 0);
    else exact('server TCP connection', reason, controlCount(after, counter) - controlCount(before, counter));
  }
  if (way === 'up') {
    exact('loader socket', 'sendmsg refused', ends.loaderPort.sendErrors ?? 0);
    trains('server socket', 'SO_RXQ_OVFL', socketDrops(before.server, after.server, ends.serverPort), 'before');
    trains('sink socket', 'SO_RXQ_OVFL', socketDrops(before.sink, after.sink, ends.sinkPort), 'behind');
  } else {
    exact('sink socket', 'sendmsg refused', ends.sinkPortCounters.sendErrors ?? 0);
    trains('loader socket', 'SO_RXQ_OVFL', ends.loaderPort.socketDrops ?? 0, 'behind');
  }
  for (const { host, counter, way: theirs, where, side } of LAB_HOPS) {
    const count = (look: Look) => look[host]?.devices.get(counter) ?? 0;
    if (theirs === way) trains(where, `${counter.replace(' ', ': ')}_dropped`, count(after) - count(before), side);
  }
  const lossy = found.filter(({ packets }) => packets > 0);
  return way === 'up' ? exactBefore(lossy, before, after, ends) : lossy;
}

/**
 * A server that counts datagrams tells exactly how many of those that were sent never reached it: then what the kernel counted in trains
 * in front of it is no estimate any more, if it was one place.
 */
function exactBefore(found: readonly Found[], before: Look, after: Look, ends: Ends): Found[] {
  if (!before.statistics || !after.statistics) return [...found];
  const reached = datagramsIn(after.statistics) - datagramsIn(before.statistics);
  const missing = Math.max(0, ends.datagramsSent - reached);
  const places = found.filter(
    ({ where, estimated }) => estimated && (where === 'server socket' || where === 'loader device'),
  );
  if (places.length !== 1) return [...found];
  return found.map((loss) => (loss === places[0] ? { ...loss, packets: missing, estimated: false } : loss));
}

/** A shard that was started again counts from zero: then what it counted before is lost, and nothing is made of it. */
function controlCount({ statistics }: Look, counter: string): number {
  return (statistics?.shards ?? []).reduce((sum, { control }) => sum + (control[counter] ?? 0), 0);
}

const datagramsIn = ({ shards }: EngineStatistics) =>
  shards.reduce((sum, { port }) => sum + (port.udpDatagramsIn ?? 0), 0);

/** What each stage of each shard has dropped in between; stages of shards that were started again count from zero. */
function stageDrops(before: EngineStatistics | undefined, after: EngineStatistics | undefined) {
  return (after?.shards ?? []).flatMap(({ shard, stages }) => {
    const past = before?.shards.find((other) => other.shard === shard)?.stages;
    return stages.map(({ stage, drops }) => {
      const old = past?.find((other) => other.stage === stage)?.drops ?? {};
      const entries = Object.entries(drops).map(([reason, count]) => [reason, count - (old[reason] ?? 0)] as const);
      return { stage, drops: Object.fromEntries(entries.filter(([, count]) => count > 0)) };
    });
  });
}

function socketDrops(before: NetworkDrops | undefined, after: NetworkDrops | undefined, portNumber: number): number {
  return (after?.sockets.get(portNumber) ?? 0) - (before?.sockets.get(portNumber) ?? 0);
}
