import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { logStatistics, logStatisticsEvery, serveMetrics } from '../../src/observe/reports.ts';
import type { EngineStatistics } from '../../src/observe/statistics.ts';
import { SECOND } from '../../src/wire/time.ts';
import { engineWith, shardWith } from './engine-statistics.ts';

const counted = engineWith(
  1e6,
  shardWith({ online: 2, sessions: 5, control: { sessionsOpened: 9 } }),
  shardWith({ shard: 1, online: 1, control: { sessionsOpened: 4 } }),
);

function createLog() {
  const lines: { level: 'info' | 'warn'; fields: object; message: string }[] = [];
  const write = (level: 'info' | 'warn') => (fields: object, message: string) => {
    lines.push({ level, fields, message });
  };
  return { lines, info: write('info'), warn: write('warn') };
}

describe('logStatistics', () => {
  it('tells sessions and addresses as the stock server does', () => {
    const log = createLog();
    logStatistics(counted, log);
    expect(log.lines).toEqual([
      {
        level: 'info',
        message: 'Session Statistics',
        fields: {
          total: 13,
          current: 3,
          ...{ standby_5m: 1, standby_15m: 1, standby_60m: 0, active_5m: 1, active_15m: 1, active_60m: 2 },
          pending_id_rotations: 0,
        },
      },
      { level: 'info', message: 'IP Statistics', fields: { assigned: 2 } },
    ]);
  });
});

describe('logStatisticsEvery', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('logs after each interval, and never with an interval of 0', async () => {
    const log = createLog();
    const gather = async () => counted;
    const stop = logStatisticsEvery(30 * SECOND, gather, log);
    logStatisticsEvery(0, gather, log);
    await vi.advanceTimersByTimeAsync(29_999);
    expect(log.lines).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(30_001);
    expect(log.lines).toHaveLength(4);
    stop();
    await vi.advanceTimersByTimeAsync(120_000);
    expect(log.lines).toHaveLength(4);
  });

  it('asks a shard that hangs only once, and goes on when it has answered', async () => {
    const log = createLog();
    const answers: ((statistics: EngineStatistics) => void)[] = [];
    const gather = () => new Promise<EngineStatistics>((resolve) => answers.push(resolve));
    const stop = logStatisticsEvery(SECOND, gather, log);
    await vi.advanceTimersByTimeAsync(5_000);
    expect(answers).toHaveLength(1);
    answers[0](counted);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(answers).toHaveLength(2);
    expect(log.lines).toHaveLength(2);
    stop();
  });
});

describe('serveMetrics', () => {
  it('does nothing without an address', async () => {
    const log = createLog();
    await serveMetrics(null, async () => Promise.reject(new Error('asked')), log);
    expect(log.lines).toEqual([]);
  });

  it('warns, and does not fail, where the address is not one of this host', async () => {
    const log = createLog();
    const elsewhere = { host: '192.0.2.1', portNumber: 9469 }; // TEST-NET-1, RFC 5737
    await serveMetrics(elsewhere, async () => Promise.reject(new Error('asked')), log);
    expect(log.lines).toMatchObject([{ level: 'warn', fields: { code: 'METRICS_ADDRESS' } }]);
    expect(log.lines[0].message).toContain('192.0.2.1:9469');
  });
});
