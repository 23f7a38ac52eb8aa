import { describe, expect, it } from 'vitest';
import { FIRST_DROP, VERDICTS } from '../../src/datapath/batch.ts';
import { NOT_DROPS, ratesBetween } from '../../src/observe/rates.ts';
import { TURN_BUCKETS, turnBucket } from '../../src/observe/statistics.ts';
import { engineWith, shardWith } from './engine-statistics.ts';

const before = engineWith(
  10e6,
  shardWith({
    turns: 100,
    cpuMicros: 1e6,
    port: { systemCalls: 50, udpDatagramsIn: 1_000, udpTrainsIn: 100, tunBytesIn: 5, tunBytesOut: 1_000_000 },
    verdicts: { forged: 3, divert: 10 },
    stages: { 'lanes.open': { vectors: 10, entries: 1_000, timedEntries: 40, timedMicros: 8, drops: { forged: 3 } } },
    trainsIn: [0, 0, 0, 100, 0, 0, 0, 0],
  }),
);
const after = engineWith(
  12e6,
  shardWith({
    turns: 300,
    sessions: 3,
    online: 2,
    cpuMicros: 2e6,
    port: {
      systemCalls: 150,
      udpDatagramsIn: 5_000,
      udpTrainsIn: 200,
      tunBytesIn: 5,
      tunBytesOut: 6_000_000,
      gsoRefused: 4,
      tunGsoRefused: 8,
    },
    verdicts: { forged: 7, divert: 20, handedOver: 4 },
    stages: { 'lanes.open': { vectors: 30, entries: 5_000, timedEntries: 140, timedMicros: 28, drops: { forged: 7 } } },
    trainsIn: [0, 0, 0, 100, 0, 100, 0, 0],
  }),
);

describe('ratesBetween', () => {
  it('divides what was counted by the time between', () => {
    const rates = ratesBetween('server', before, after);
    expect(rates).toMatchObject({
      seconds: 2,
      upBitsPerSecond: 20e6,
      downBitsPerSecond: 0,
      packetsInPerSecond: 2_000,
      packetsOutPerSecond: 0,
      systemCallsPerSecond: 50,
      packetsPerSystemCall: 40,
      trainIn: 40,
      trainOut: null,
      handoversPerSecond: 2,
      dropsPerSecond: 2,
      gsoRefusedPerSecond: 2,
      tunGsoRefusedPerSecond: 4,
      drops: { forged: 2 },
      sessions: 3,
      online: 2,
      tunDroppedPerSecond: 10,
      cpu: 0.25,
      mainCpu: 0.01,
    });
    expect(rates.trainsIn).toMatchObject({ '8-15': 0, '32-63': 50 });
    expect(rates.shards).toMatchObject([{ shard: 0, cpu: 0.5, packetsPerSystemCall: 40 }]);
    expect(rates.stages.find(({ stage }) => stage === 'lanes.open')).toEqual({
      stage: 'lanes.open',
      vectorsPerSecond: 10,
      entriesPerSecond: 2_000,
      entriesPerVector: 200,
      nanosPerEntry: 200,
      busy: 0.0004,
      dropsPerSecond: 2,
    });
    expect(rates.stages.find(({ stage }) => stage === 'lanes.seal')).toMatchObject({
      entriesPerVector: null,
      nanosPerEntry: null,
      busy: null,
    });
  });

  it("takes a client's TUN device the other way round: what comes from it goes up", () => {
    expect(ratesBetween('client', before, after)).toMatchObject({ upBitsPerSecond: 0, downBitsPerSecond: 20e6 });
  });

  it('is zero everywhere without a look before, however much has been counted', () => {
    const rates = ratesBetween('server', undefined, after);
    expect(rates).toMatchObject({ seconds: 0, upBitsPerSecond: 0, cpu: 0, dropsPerSecond: 0, drops: {}, sessions: 3 });
    expect(rates.stages.every(({ entriesPerSecond }) => entriesPerSecond === 0)).toBe(true);
  });

  it('counts a shard that was started again from zero, and one that is new not at all', () => {
    const restarted = shardWith({ turns: 5, port: { udpDatagramsIn: 30, systemCalls: 10 } });
    expect(ratesBetween('server', before, engineWith(12e6, restarted))).toMatchObject({
      packetsInPerSecond: 15,
      upBitsPerSecond: 0,
      dropsPerSecond: 0,
    });
    const other = shardWith({ shard: 7, turns: 900, port: { udpDatagramsIn: 9_000 } });
    expect(ratesBetween('server', before, engineWith(12e6, other)).packetsInPerSecond).toBe(0);
  });

  it('says how long half and 99 % of the turns took at most, of those since the look before', () => {
    const turns = (...times: readonly number[]) => {
      const turnTimes = new Array<number>(TURN_BUCKETS).fill(0);
      for (const time of times) turnTimes[turnBucket(time)]++;
      return shardWith({ turns: times.length, turnTimes });
    };
    const slow = [900_000, 900_000, 900_000];
    const now = [...slow, ...new Array<number>(98).fill(20), 300, 5_000];
    const rates = ratesBetween('server', engineWith(1e6, turns(...slow)), engineWith(2e6, turns(...now)));
    for (const [quantile, time] of [
      [rates.turnP50, 20],
      [rates.turnP99, 300],
    ] as const) {
      expect(quantile).toBeGreaterThanOrEqual(time);
      expect(quantile).toBeLessThan(time * 1.25);
    }
    expect(ratesBetween('server', undefined, engineWith(2e6, turns())).turnP99).toBeNull();
  });

  it('over TCP counts packets by the stages, and gives no figure per system call', () => {
    const count = (entries: number) =>
      shardWith({
        turns: entries,
        port: { systemCalls: entries },
        stages: { 'guard.admit': { vectors: 1, entries }, 'lanes.seal': { vectors: 1, entries: 2 * entries } },
      });
    const rates = ratesBetween('server', engineWith(1e6, count(10)), engineWith(2e6, count(40)));
    expect(rates).toMatchObject({ packetsInPerSecond: 30, packetsOutPerSecond: 60, packetsPerSystemCall: null });
  });
});

describe('NOT_DROPS', () => {
  it('are the verdicts before the first drop', () => {
    expect(NOT_DROPS).toEqual(VERDICTS.slice(0, FIRST_DROP));
  });
});
