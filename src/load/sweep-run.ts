/** Runs a sweep on one stage: capacity first, then every point in its shuffled order, each a run of its own. */
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { RingwayError } from '../errors.ts';
import { lossRatio } from './ledger.ts';
import { type Result, resultSchema } from './result.ts';
import { loadFrom, type Stage } from './self.ts';
import { FIXED_BURST, LOADS, naturalBurst, type Point, type PointPlan } from './sweep.ts';

export interface SweepScenario {
  /** Flags that every run has: size, transport, expresslane ... */
  readonly words: readonly string[];
  readonly size: number;
  readonly duration: string;
  readonly warmup: string;
  /** Bits per second that the server carries, by trains; what is not given is measured. */
  readonly capacity: Partial<Record<Point['trains'], number>>;
  /** Clients of the capacity runs. */
  readonly reference: number;
}

/** A run that fails this often ends the sweep. */
const MOST_TRIES = 2;

async function once(stage: Stage, words: readonly string[]): Promise<Result> {
  const file = join(stage.lab.folder, 'point.json');
  for (let tries = 1; ; tries++) {
    rmSync(file, { force: true });
    await loadFrom(stage, ['upload', ...words, '--json', file], true);
    try {
      return resultSchema.parse(JSON.parse(readFileSync(file, 'utf8')));
    } catch (cause) {
      if (tries === MOST_TRIES)
        throw new RingwayError(
          'LOAD_SWEEP',
          `a run of the sweep gave no result: ${words.join(' ')}`,
          'see what it printed',
          { cause },
        );
    }
  }
}

/** What is carried when more is offered than can be. */
export async function measureCapacity(stage: Stage, sweep: SweepScenario, trains: Point['trains']): Promise<number> {
  const known = sweep.capacity[trains];
  if (known !== undefined) return known;
  const burst = trains === 'fixed' ? FIXED_BURST : 1;
  const words = [
    '--clients',
    String(sweep.reference),
    '--traffic',
    'window',
    '--rate',
    'max',
    '--burst',
    String(burst),
  ];
  const result = await once(stage, [...sweep.words, ...words, '--duration', sweep.duration, '--warmup', sweep.warmup]);
  return result.uplink?.goodputBits ?? 0;
}

export async function runPoint(stage: Stage, sweep: SweepScenario, plan: PointPlan, capacity: number): Promise<Point> {
  const offered = capacity * LOADS[plan.load];
  const burst = plan.trains === 'fixed' ? FIXED_BURST : naturalBurst(plan.clients, offered, sweep.size);
  const rate = String(Math.round(offered / plan.clients));
  const words = ['--clients', String(plan.clients), '--rate', rate, '--burst', String(burst)];
  const result = await once(stage, [...sweep.words, ...words, '--duration', sweep.duration, '--warmup', sweep.warmup]);
  return pointOf(plan, result);
}

export function pointOf(plan: PointPlan, result: Result): Point {
  const { uplink, cpu, clients, saturated } = result;
  if (!uplink) throw new RingwayError('LOAD_SWEEP', 'a run of the sweep carried nothing up', 'see what it printed');
  return {
    ...plan,
    offeredBits: uplink.offeredBits,
    goodputBits: uplink.goodputBits,
    p99: uplink.latency?.p99 ?? null,
    serverPerGb: cpu.serverPerGb,
    trainLength: uplink.trainReceived,
    loss: lossRatio(uplink),
    fairness: uplink.fairness,
    online: clients.online,
    valid: result.invalid.length === 0,
    saturated,
  };
}
