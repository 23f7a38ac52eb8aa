/**
 * What a running engine counts, as its shards report it, the keeper passes it on, and `ringway status --json`, `ringway top` and
 * the metrics show it. Counters only grow, but they live in the engine: a new engine, and a shard that was started again,
 * begins at zero. All of it is plain values.
 */
import { readFile } from 'node:fs/promises';
import type { Micros } from '../wire/time.ts';

/** Upper ends of the train length buckets but the last, in datagrams: 1, 2 to 3, 4 to 7 ... 128 and more. */
export const TRAIN_BUCKETS = ['1', '2-3', '4-7', '8-15', '16-31', '32-63', '64-127', '128+'] as const;

/** Four buckets to a doubling of microseconds, from 0 to a minute: within 19 %. */
export const TURN_BUCKETS = 104;

/** The bucket of a turn that took so long, and with the next one's `turnBucketStart` its bounds. */
export function turnBucket(micros: Micros): number {
  return Math.min(TURN_BUCKETS - 1, Math.floor(4 * Math.log2(1 + Math.max(0, micros))));
}

export const turnBucketStart = (bucket: number): Micros => 2 ** (bucket / 4) - 1;

/** One node of a pipeline, or the one that follows it. */
export interface StageStatistics {
  /** As the pipeline calls it: `lanes.open`. */
  readonly stage: string;
  /** Calls that had something to work on. */
  readonly vectors: number;
  readonly entries: number;
  /** Entries of the turns that were timed (one in TIMED_EVERY), and what they took. */
  readonly timedEntries: number;
  readonly timedMicros: Micros;
  /** Entries that ended here, by reason; reasons that never happened are left out. */
  readonly drops: Readonly<Record<string, number>>;
}

export interface ShardStatistics {
  readonly shard: number;
  /** What its packets go through: what `--io auto` has come to. */
  readonly io: 'io_uring' | 'epoll';
  readonly sessions: number;
  readonly online: number;
  readonly turns: number;
  /** Turns with work by how long they took, a bucket each from its `turnBucketStart` on: the longest a packet waited for its turn. */
  readonly turnTimes: readonly number[];
  /** CPU time of the shard's thread. */
  readonly cpuMicros: Micros;
  /** `portCounters` of the addon. */
  readonly port: Readonly<Record<string, number>>;
  /** Entries by verdict, over all stages. */
  readonly verdicts: Readonly<Record<string, number>>;
  readonly control: Readonly<Record<string, number>>;
  /** Uplink first, in the order of the pipelines. */
  readonly stages: readonly StageStatistics[];
  /** Trains by the datagrams in them, a bucket each of TRAIN_BUCKETS. */
  readonly trainsIn: readonly number[];
  readonly trainsOut: readonly number[];
}

/** Sessions by when they were last used (protocol specification §12.3), for 5, 15 and 60 minutes. */
export interface SessionAges {
  /** Inner packets within the time. */
  readonly active: readonly [number, number, number];
  /** Datagrams within the time, inner packets before it. */
  readonly standby: readonly [number, number, number];
  readonly pendingRotations: number;
}

export interface EngineStatistics {
  /** When this was gathered: rates are differences over differences of it. */
  readonly at: Micros;
  /** CPU time of the whole engine process: shards, main thread, crypto threads, and the kernel threads of its rings. */
  readonly cpuMicros: Micros;
  readonly mainCpuMicros: Micros;
  readonly residentBytes: number;
  /** Server: inside addresses given away; null on a client. */
  readonly assignedAddresses: number | null;
  readonly ages: SessionAges | null;
  /** What the kernel has dropped at the TUN device, whose queue was full, superpackets once, since there is such a device; null where it does not say. */
  readonly tunDropped: number | null;
  /** Shards that answered: one that is being started again is left out. */
  readonly shards: readonly ShardStatistics[];
}

/** A sum over shards of one figure. */
export function total(statistics: EngineStatistics, figure: (shard: ShardStatistics) => number | undefined): number {
  return statistics.shards.reduce((sum, shard) => sum + (figure(shard) ?? 0), 0);
}

/** `tunDropped` of that device, in the network namespace of this process. */
export async function droppedAtDevice(device: string): Promise<number | null> {
  const table = await readFile('/proc/self/net/dev', 'utf8').catch(() => '');
  const line = table.split('\n').find((each) => each.trimStart().startsWith(`${device}:`));
  const counters = line
    ?.slice(line.indexOf(':') + 1)
    .trim()
    .split(/\s+/); // eight of what came, then bytes, packets, errors, drops of what went
  return counters?.[11] === undefined ? null : Number(counters[11]);
}

/** What this process and the thread that calls have used so far. */
export function ownUse(now: Micros): Pick<EngineStatistics, 'at' | 'cpuMicros' | 'mainCpuMicros' | 'residentBytes'> {
  const [whole, main] = [process.cpuUsage(), process.threadCpuUsage()];
  return {
    at: now,
    cpuMicros: whole.user + whole.system,
    mainCpuMicros: main.user + main.system,
    residentBytes: process.memoryUsage.rss(),
  };
}
