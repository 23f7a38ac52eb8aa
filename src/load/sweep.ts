/**
 * The scaling curve: the same offered load with more and more clients. Points run in shuffled order, several times each, so that a
 * machine that grows warm or busy does not draw a slope; the median of a point counts.
 */
import { z } from 'zod';
import { median } from './fairness.ts';
import { MAX_BURST } from './scenario.ts';

/** Offered load over capacity: the curve below it and above it. */
export const LOADS = { below: 0.8, above: 1.5 } as const;
/** natural: every client's packets as they are due, so that more clients mean shorter trains; fixed: always as long. */
export const FIXED_BURST = 16;
/** A fall from the middle of the curve by more than this is a plateau. */
export const FALL = 0.1;

export const pointSchema = z.strictObject({
  clients: z.int(),
  load: z.enum(['below', 'above']),
  trains: z.enum(['natural', 'fixed']),
  offeredBits: z.number(),
  goodputBits: z.number(),
  p99: z.number().nullable(),
  serverPerGb: z.number().nullable(),
  trainLength: z.number().nullable(),
  loss: z.number(),
  fairness: z.number(),
  online: z.int(),
  valid: z.boolean(),
  /** Which stage is full; null: none. */
  saturated: z.string().nullable(),
});
export type Point = z.infer<typeof pointSchema>;

export type PointPlan = Pick<Point, 'clients' | 'load' | 'trains'>;

/** @param random 0 (inclusive) to 1, handed in so that a sweep can be run again in its order */
export function planSweep(clients: readonly number[], repeats: number, random: () => number): PointPlan[] {
  const plan: PointPlan[] = [];
  for (let i = 0; i < repeats; i++)
    for (const each of clients)
      for (const load of ['below', 'above'] as const)
        for (const trains of ['natural', 'fixed'] as const) plan.push({ clients: each, load, trains });
  for (let i = plan.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [plan[i], plan[j]] = [plan[j], plan[i]];
  }
  return plan;
}

/** Seeded (mulberry32), since Math.random cannot be. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Packets due together, for a natural train: one client alone sends full trains, many send short ones, at the same load in
 * all: each has what falls due to it within one gathering time of the loader.
 */
export function naturalBurst(clients: number, totalBits: number, size: number): number {
  const gathering = 0.000_5; // seconds
  const packets = (totalBits * gathering) / 8 / size / clients;
  return Math.max(1, Math.min(MAX_BURST, Math.round(packets)));
}

export interface CurvePoint {
  readonly clients: number;
  readonly runs: number;
  readonly goodputBits: number;
  readonly offeredBits: number;
  readonly p99: number | null;
  readonly serverPerGb: number | null;
  readonly trainLength: number | null;
  readonly loss: number;
  readonly fairness: number;
  /** Lowest and highest goodput of the runs. */
  readonly range: readonly [number, number];
  readonly saturated: string | null;
}

export interface Curve {
  readonly load: Point['load'];
  readonly trains: Point['trains'];
  readonly points: readonly CurvePoint[];
  readonly plateau: Plateau | null;
}

export interface Plateau {
  readonly clients: number;
  /** Goodput there over the median of the middle. */
  readonly ratio: number;
  readonly stage: string;
}

/** Medians by number of clients, one curve each for load and train. Invalid runs count only where there is no valid one. */
export function curvesOf(points: readonly Point[]): Curve[] {
  const curves: Curve[] = [];
  for (const load of ['below', 'above'] as const) {
    for (const trains of ['natural', 'fixed'] as const) {
      const own = points.filter((point) => point.load === load && point.trains === trains);
      const counts = [...new Set(own.map(({ clients }) => clients))].sort((a, b) => a - b);
      if (counts.length === 0) continue;
      const medians = counts.map((clients) => medianPoint(own.filter((point) => point.clients === clients)));
      curves.push({ load, trains, points: medians, plateau: findPlateau(medians) });
    }
  }
  return curves;
}

function medianPoint(all: readonly Point[]): CurvePoint {
  const valid = all.filter((point) => point.valid);
  const runs = valid.length > 0 ? valid : all;
  const of = (read: (point: Point) => number) => median(runs.map(read));
  const known = (read: (point: Point) => number | null) => {
    const values = runs.map(read).filter((value) => value !== null);
    return values.length > 0 ? median(values) : null;
  };
  const goodputs = runs.map(({ goodputBits }) => goodputBits);
  const stages = runs.map(({ saturated }) => saturated).filter((stage) => stage !== null);
  return {
    clients: runs[0].clients,
    runs: runs.length,
    goodputBits: median(goodputs),
    offeredBits: of(({ offeredBits }) => offeredBits),
    p99: known(({ p99 }) => p99),
    serverPerGb: known(({ serverPerGb }) => serverPerGb),
    trainLength: known(({ trainLength }) => trainLength),
    loss: of(({ loss }) => loss),
    fairness: of(({ fairness }) => fairness),
    range: [Math.min(...goodputs), Math.max(...goodputs)],
    saturated: mostFrequent(stages),
  };
}

function mostFrequent(words: readonly string[]): string | null {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  let best: string | null = null;
  for (const [word, count] of counts) if (best === null || count > (counts.get(best) ?? 0)) best = word;
  return best;
}

/** The middle: points from a tenth to half of the most clients (100 to 500 of 1,000). */
export function middleGoodput(points: readonly Pick<CurvePoint, 'clients' | 'goodputBits'>[]): number | undefined {
  const most = Math.max(...points.map(({ clients }) => clients));
  const middle = points.filter(({ clients }) => clients >= most / 10 && clients <= most / 2);
  return middle.length > 0 ? median(middle.map(({ goodputBits }) => goodputBits)) : undefined;
}

/** The first point beyond the middle that falls too far. */
export function findPlateau(points: readonly CurvePoint[]): Plateau | null {
  const middle = middleGoodput(points);
  if (middle === undefined || middle === 0) return null;
  const most = Math.max(...points.map(({ clients }) => clients));
  const fallen = points.find(({ clients, goodputBits }) => clients > most / 2 && goodputBits < middle * (1 - FALL));
  if (!fallen) return null;
  return { clients: fallen.clients, ratio: fallen.goodputBits / middle, stage: fallen.saturated ?? 'none was full' };
}

export interface Stages {
  /** Share of the due trains the loader had not sent; busy share of its thread. */
  readonly lag: number;
  readonly loaderBusy: number;
  readonly sinkLag: number;
  readonly sinkBusy: number;
  /** Busiest shard, or all of the server's process over the cores it may use. */
  readonly serverBusy: number;
  readonly losses: readonly { where: string; packets: number }[];
  readonly machineBusy: number;
}

const FULL = 0.9;

/** Names the stage that holds the others up: first who is behind, then who lost most, then whose CPU is full. */
export function saturatedStage(stages: Stages): string | null {
  const { lag, loaderBusy, sinkLag, sinkBusy, serverBusy, losses, machineBusy } = stages;
  if (lag > 0.01 || loaderBusy > FULL) return loaderBusy > FULL ? 'loader thread' : 'loader';
  if (sinkLag > 0.01) return 'sink';
  const worst = [...losses].sort((a, b) => b.packets - a.packets)[0];
  if (worst && worst.packets > 0) {
    if (worst.where === 'server socket') return serverBusy > FULL ? 'server CPU' : 'server socket';
    return worst.where;
  }
  if (serverBusy > FULL) return 'server CPU';
  if (sinkBusy > FULL) return 'sink';
  return machineBusy > 0.97 ? 'machine CPU' : null;
}
