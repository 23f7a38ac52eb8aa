/** Statistics as engines really send them: names from the product's own lists, figures as the test wants them. */
import { VERDICTS } from '../../src/datapath/batch.ts';
import { STAGES } from '../../src/datapath/pipeline.ts';
import { type EngineStatistics, type ShardStatistics, TRAIN_BUCKETS } from '../../src/observe/statistics.ts';

interface Figures {
  readonly shard?: number;
  readonly turns?: number;
  readonly sessions?: number;
  readonly online?: number;
  readonly cpuMicros?: number;
  readonly port?: Readonly<Record<string, number>>;
  readonly verdicts?: Readonly<Record<string, number>>;
  readonly control?: Readonly<Record<string, number>>;
  readonly stages?: Readonly<Record<string, Partial<ShardStatistics['stages'][number]>>>;
  readonly turnTimes?: readonly number[];
  readonly trainsIn?: readonly number[];
  readonly trainsOut?: readonly number[];
}

export function shardWith({ stages = {}, ...figures }: Figures): ShardStatistics {
  const none = { vectors: 0, entries: 0, timedEntries: 0, timedMicros: 0, drops: {} };
  return {
    shard: 0,
    io: 'epoll',
    sessions: 0,
    online: 0,
    turns: 0,
    turnTimes: [],
    cpuMicros: 0,
    control: { sessionsOpened: 0, sessionsClosed: 0 },
    trainsIn: TRAIN_BUCKETS.map(() => 0),
    trainsOut: TRAIN_BUCKETS.map(() => 0),
    ...figures,
    port: { systemCalls: 0, udpDatagramsIn: 0, udpDatagramsOut: 0, tunBytesIn: 0, tunBytesOut: 0, ...figures.port },
    verdicts: { ...Object.fromEntries(VERDICTS.map((name) => [name, 0])), ...figures.verdicts },
    stages: STAGES.map((stage) => ({ stage, ...none, ...stages[stage] })),
  };
}

export function engineWith(at: number, ...shards: readonly ShardStatistics[]): EngineStatistics {
  return {
    at,
    cpuMicros: at / 4,
    mainCpuMicros: at / 100,
    residentBytes: 200e6,
    assignedAddresses: 2,
    tunDropped: at / 100_000,
    ages: { active: [1, 1, 2], standby: [1, 1, 0], pendingRotations: 0 },
    shards,
  };
}
