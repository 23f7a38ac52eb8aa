import { describe, expect, it } from 'vitest';
import { type Lag, measureLag, worstLag } from '../../src/load/lag.ts';
import { readScenario } from '../../src/load/scenario.ts';
import { createSchedule } from '../../src/load/schedule.ts';
import { SECOND } from '../../src/wire/time.ts';

const download = readScenario('download', { rate: '50M', clients: '10', burst: '4' });
const due = createSchedule(download).trainsDue(SECOND) - 1;
const whole = { sinceStart: SECOND, turns: due };
const half = { sinceStart: SECOND, turns: Math.round(due / 2) };

describe('how far a run was behind', () => {
  it('counts a sink that sends half of what is due', () => {
    const lag = measureLag(download, undefined, half);
    expect(lag.up).toBeUndefined();
    expect(lag.down).toBeCloseTo(0.5, 2);
    expect(worstLag(lag)).toBe(lag.down);
  });

  it('is nothing where all that was due has left', () => {
    expect(worstLag(measureLag(download, undefined, whole))).toBe(0);
    expect(worstLag(measureLag({ ...download, direction: 'upload' }, whole, undefined))).toBe(0);
  });

  it('is the worse way of a mixed run, whichever that is', () => {
    const mixed = { ...download, direction: 'mixed' as const };
    expect(worstLag(measureLag(mixed, whole, half))).toBeCloseTo(0.5, 2);
    expect(worstLag(measureLag(mixed, half, whole))).toBeCloseTo(0.5, 2);
  });

  it('is not known where one that has a schedule did not tell, or had nothing due yet', () => {
    const mixed = { ...download, direction: 'mixed' as const };
    expect(measureLag(mixed, whole, undefined)).toEqual<Lag>({ up: 0, down: null });
    expect(worstLag(measureLag(mixed, whole, undefined))).toBeNull();
    expect(worstLag(measureLag(download, undefined, { sinceStart: -5, turns: 0 }))).toBeNull();
  });

  it.each([{ traffic: 'window' as const }, { rate: null }])('is not known where nothing is due: %o', (change) => {
    expect(measureLag({ ...download, ...change }, whole, whole)).toEqual<Lag>({ up: undefined, down: undefined });
    expect(worstLag(measureLag({ ...download, ...change }, whole, whole))).toBeNull();
  });
});
