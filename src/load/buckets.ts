/**
 * Latencies in log-linear buckets, as the addon counts them (`native/load`): exact below 256 ns, then 128 buckets to every
 * doubling, so no value is off by more than 0.4 %. Buckets are added up, taken apart, and handed to HdrHistogram for files that
 * other tools read.
 */
import * as hdr from 'hdr-histogram-js';
import type { Micros } from '../wire/time.ts';

const SUB_BITS = 7;
const SUB = 2 ** SUB_BITS;
/** 2⁴⁰ ns is 18 minutes: later than any run waits. Everything above is counted in the last bucket. */
const MAX_BITS = 40;
export const BUCKETS = (MAX_BITS - SUB_BITS + 1) * SUB;

export function bucketOf(ns: number): number {
  const value = Math.max(0, Math.floor(ns));
  if (value < 2 * SUB) return value;
  if (value >= 2 ** MAX_BITS) return BUCKETS - 1;
  const octave = Math.floor(Math.log2(value)) - SUB_BITS;
  return octave * SUB + Math.floor(value / 2 ** octave);
}

/** The middle of a bucket, in ns. */
export function bucketValue(bucket: number): number {
  if (bucket < 2 * SUB) return bucket;
  const octave = Math.floor(bucket / SUB) - 1;
  const width = 2 ** octave;
  return (bucket - octave * SUB) * width + (width - 1) / 2;
}

/** Counts by bucket. Plain numbers: exact to 2⁵³. */
export type Buckets = Float64Array;

export const noBuckets = (): Buckets => new Float64Array(BUCKETS);

export function addBuckets(into: Buckets, more: ArrayLike<number | bigint>): void {
  for (let i = 0; i < BUCKETS; i++) into[i] += Number(more[i]);
}

/** Only what is not zero, as [bucket, count, bucket, count ...]: what crosses a control connection. */
export function toSparse(buckets: ArrayLike<number>): number[] {
  const sparse: number[] = [];
  for (let i = 0; i < buckets.length; i++) if (buckets[i] !== 0) sparse.push(i, buckets[i]);
  return sparse;
}

export function addSparse(into: Buckets, sparse: readonly number[]): void {
  for (let i = 0; i + 1 < sparse.length; i += 2) if (sparse[i] < BUCKETS) into[sparse[i]] += sparse[i + 1];
}

/** @returns undefined when nothing was counted */
export function percentile(buckets: Buckets, share: number): Micros | undefined {
  let total = 0;
  for (const count of buckets) total += count;
  if (total === 0) return undefined;
  const wanted = Math.max(1, Math.ceil(share * total));
  let seen = 0;
  for (let i = 0; i < BUCKETS; i++) {
    seen += buckets[i];
    if (seen >= wanted) return bucketValue(i) / 1000;
  }
  return undefined;
}

export interface Latency {
  readonly count: number;
  readonly mean: Micros;
  readonly p50: Micros;
  readonly p90: Micros;
  readonly p99: Micros;
  readonly p999: Micros;
  readonly max: Micros;
  /** HdrHistogram V2, compressed, base64, in ns: read by any HdrHistogram tool. */
  readonly hdr: string;
}

const DIGITS = 3;

/** @returns null when nothing was counted */
export function summarise(buckets: Buckets): Latency | null {
  let count = 0;
  let sum = 0;
  let top = 0;
  const histogram = hdr.build({ bitBucketSize: 64, lowestDiscernibleValue: 1, numberOfSignificantValueDigits: DIGITS });
  for (let i = 0; i < BUCKETS; i++) {
    if (buckets[i] === 0) continue;
    count += buckets[i];
    sum += buckets[i] * bucketValue(i);
    top = i;
    histogram.recordValueWithCount(Math.round(bucketValue(i)), buckets[i]);
  }
  if (count === 0) return null;
  const at = (share: number) => percentile(buckets, share) ?? 0;
  return {
    count,
    mean: sum / count / 1000,
    p50: at(0.5),
    p90: at(0.9),
    p99: at(0.99),
    p999: at(0.999),
    max: bucketValue(top) / 1000,
    hdr: hdr.encodeIntoCompressedBase64(histogram),
  };
}

/** The distribution of a summary as points [share, µs], rising, fine at the slow end: what is drawn. */
export function distribution(encoded: string): [share: number, us: Micros][] {
  const histogram = hdr.decodeFromCompressedBase64(encoded);
  const points: [number, Micros][] = [];
  // 20 steps to every tenth of what is left: 0.9, 0.99, 0.999 ...
  for (let left = 0; left <= 100; left++) {
    const share = 1 - 10 ** (-left / 20);
    points.push([share, histogram.getValueAtPercentile(share * 100) / 1000]);
    if (10 ** (left / 20) > histogram.totalCount) break;
  }
  return points;
}
