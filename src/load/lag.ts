/** How far the generators were behind their schedules: the loader's on the way up, the sink's on the way down. */
import type { Micros } from '../wire/time.ts';
import type { Scenario } from './scenario.ts';
import { createSchedule } from './schedule.ts';

/** A generator at a moment. */
export interface Progress {
  /** Since the first train was due. */
  readonly sinceStart: Micros;
  /** Trains the schedule has gone past. */
  readonly turns: number;
}

/** Share of the due trains that had not left; null: not measured, undefined: this way has no schedule to be behind of. */
export interface Lag {
  readonly up: number | null | undefined;
  readonly down: number | null | undefined;
}

/** @param up and @param down undefined: that end has not told */
export function measureLag(scenario: Scenario, up: Progress | undefined, down: Progress | undefined): Lag {
  const { direction, traffic, rate } = scenario;
  if (traffic === 'window' || rate === null) return { up: undefined, down: undefined };
  const { spacing } = createSchedule(scenario);
  return {
    up: direction === 'download' ? undefined : behind(spacing, up),
    down: direction === 'upload' ? undefined : behind(spacing, down),
  };
}

function behind(spacing: Micros, progress: Progress | undefined): number | null {
  const due = progress === undefined ? 0 : Math.floor(progress.sinceStart / spacing);
  return progress === undefined || due <= 0 ? null : Math.max(0, due - progress.turns) / due;
}

/** The worse way; null where one that has a schedule was not measured, or none has one. */
export function worstLag({ up, down }: Lag): number | null {
  const ways = [up, down].filter((way) => way !== undefined);
  return ways.length === 0 || ways.includes(null) ? null : Math.max(...ways.map(Number));
}
