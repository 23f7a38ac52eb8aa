/** The result of a run as JSON: what `--json` writes, `--compare` reads, reports and tables are made of. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { RingwayError } from '../errors.ts';
import { scenarioSchema } from './scenario.ts';

/** Raised when a reader of the old form would misread the new one. */
export const RESULT_VERSION = 1;

const latency = z.strictObject({
  count: z.number(),
  mean: z.number(),
  p50: z.number(),
  p90: z.number(),
  p99: z.number(),
  p999: z.number(),
  max: z.number(),
  hdr: z.string(),
});

const directionSchema = z.strictObject({
  /** Inner bits per second over the measured part. */
  offeredBits: z.number(),
  goodputBits: z.number(),
  /** Over all packets, warm-up included. */
  offered: z.int(),
  delivered: z.int(),
  duplicates: z.int(),
  reordered: z.int(),
  /** How the time was taken: `one-way` needs both clocks to be one. */
  latencyKind: z.enum(['one-way', 'round trip']),
  /** µs from when a packet was due; null: nothing came. */
  latency: latency.nullable(),
  fairness: z.number(),
  /** Bits per second of each client, in the order they logged in. */
  clientBits: z.array(z.number()),
  losses: z.array(z.strictObject({ where: z.string(), reason: z.string(), packets: z.int(), estimated: z.boolean() })),
  unexplained: z.int(),
  /** Mean packets a train: as the loader (or sink) sent them, and as they arrived at the other end. */
  trainSent: z.number().nullable(),
  trainReceived: z.number().nullable(),
});

export const resultSchema = z.strictObject({
  format: z.literal('ringway-load'),
  version: z.literal(RESULT_VERSION),
  title: z.string(),
  started: z.string(),
  command: z.string(),
  release: z.string(),
  /** What was under load, in words: `Ringway 0.1.0`, `lightway-server`, an address. */
  subject: z.string(),
  scenario: scenarioSchema,
  /** Ctrl-C before the end. */
  endedEarly: z.boolean(),
  /** Why the figures must not be trusted; empty: valid. */
  invalid: z.array(z.string()),
  measuredSeconds: z.number(),
  clients: z.strictObject({
    wanted: z.int(),
    online: z.int(),
    lost: z.int(),
    failed: z.record(z.string(), z.int()),
    /** Seconds until the last one was online. */
    loginSeconds: z.number(),
  }),
  uplink: directionSchema.nullable(),
  downlink: directionSchema.nullable(),
  generator: z.strictObject({
    /** Share of the due trains that had not left when the run ended, loader's or sink's, whose is greater; null: not measured. */
    lag: z.number().nullable(),
    /** µs between due and sent. */
    delay: latency.nullable(),
    /** CPU share of the busiest loader thread, 0 to 1. */
    busy: z.number(),
    cpuSeconds: z.number(),
  }),
  cpu: z.strictObject({
    cores: z.int(),
    /** CPU seconds over the measured part; null where it cannot be seen from here. */
    server: z.number().nullable(),
    sink: z.number().nullable(),
    serverPerGb: z.number().nullable(),
  }),
  /** The stage that held the others up; null: none was full. */
  saturated: z.string().nullable(),
  /** The server's own counters over the run, where it tells them; by shard. */
  shards: z.array(z.record(z.string(), z.number())),
  series: z.strictObject({
    /** Seconds since the traffic began; every list has one entry for each. */
    at: z.array(z.number()),
    upBits: z.array(z.number()),
    downBits: z.array(z.number()),
    loss: z.array(z.number()),
    p50: z.array(z.number().nullable()),
    p99: z.array(z.number().nullable()),
    train: z.array(z.number().nullable()),
    /** Busy share by core. */
    cores: z.array(z.array(z.number())),
  }),
  machine: z.record(z.string(), z.string()),
  configuration: z.record(z.string(), z.string()),
});

export type Result = z.infer<typeof resultSchema>;
export type DirectionResult = z.infer<typeof directionSchema>;

/** @throws RingwayError LOAD_RESULT when the file cannot be read, or is of another kind or version */
export function readResult(path: string): Result {
  try {
    return resultSchema.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (cause) {
    const why = cause instanceof z.ZodError ? z.prettifyError(cause).split('\n')[0] : (cause as Error).message;
    throw new RingwayError(
      'LOAD_RESULT',
      `${path} is no result of this version of ringway load: ${why}`,
      'make one with --json FILE',
      { cause },
    );
  }
}
