/**
 * What loader and sink say to each other beside the traffic, as schemas: either end hears only what is written here. Whoever reaches
 * the control port may write to it, so every number has bounds that the addon and the memory of the other end can stand.
 */
import { z } from 'zod';
import { BUCKETS } from './buckets.ts';
import { MAX_CLIENTS, scenarioSchema } from './scenario.ts';
import { TOTALS } from './traffic.ts';

export const SINK_PROTOCOL = 2;

/** Spans and clocks in Micros: 31 years, of which the addon takes three together. */
const MAX_TIME = 1e15 / 4;
const time = z.number().nonnegative().max(MAX_TIME);
const count = z.int().nonnegative();
const counters = z.record(z.string(), z.number());
/** One entry a client. */
const column = z.array(count).max(MAX_CLIENTS);
/** [bucket, count, bucket, count ...] */
const sparseBuckets = z.array(count).max(2 * BUCKETS);

/** A snapshot whose histograms are sparse pairs. */
const snapshot = z.strictObject({
  totals: z.record(z.enum(TOTALS), count),
  histograms: z.strictObject({ oneWay: sparseBuckets, roundTrip: sparseBuckets, delay: sparseBuckets }),
  port: counters,
  verdicts: counters,
  at: time,
  cpuSeconds: z.number().nonnegative(),
});

export const toSink = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('begin'),
    protocol: z.int(),
    run: z.int().min(0).max(0xffff_ffff),
    scenario: scenarioSchema,
    echoEvery: z.int().min(0).max(1_000_000),
    tickMs: z.int().min(10).max(60_000),
  }),
  /** Spans from now on. */
  z.strictObject({ type: z.literal('go'), spacing: time, warmup: time, duration: z.number().positive().max(MAX_TIME) }),
  /** No more traffic: what is due and has not left stays. */
  z.strictObject({ type: z.literal('stop') }),
  z.strictObject({ type: z.literal('finish') }),
]);

export const fromSink = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('ready'),
    portNumber: z.int().min(1).max(65_535),
    boot: z.string().max(100),
    pid: z
      .int()
      .min(1)
      .max(2 ** 22),
  }),
  z.strictObject({ type: z.literal('refused'), message: z.string().max(1_000) }),
  z.strictObject({
    type: z.literal('tick'),
    known: count,
    /** How long its own traffic had been due at `snapshot.at`; null: it makes none. */
    sinceStart: time.nullable(),
    snapshot,
  }),
  z.strictObject({ type: z.literal('result'), sent: column, received: column, measuredBytes: column, snapshot }),
]);

export type ToSink = z.infer<typeof toSink>;
export type FromSink = z.infer<typeof fromSink>;
export type SparseSnapshot = z.infer<typeof snapshot>;

/** What an end hears: the form of a message, and bytes of its longest line. */
export interface Hearing<In> {
  readonly schema: z.ZodType<In>;
  readonly longestLine: number;
}
export const SINK_HEARS: Hearing<ToSink> = { schema: toSink, longestLine: 1 << 16 };
/** Three columns of 10,000 numbers and three histograms are 1 MB at most. */
export const LOADER_HEARS: Hearing<FromSink> = { schema: fromSink, longestLine: 1 << 22 };
