import fc from 'fast-check';
import * as hdr from 'hdr-histogram-js';
import { describe, expect, it } from 'vitest';
import {
  addBuckets,
  addSparse,
  BUCKETS,
  bucketOf,
  bucketValue,
  distribution,
  noBuckets,
  percentile,
  summarise,
  toSparse,
} from '../../src/load/buckets.ts';
import { jainIndex, median, quantile } from '../../src/load/fairness.ts';
import { balance, lossRatio } from '../../src/load/ledger.ts';
import { decodePayload, encodePayload, PAYLOAD_BYTES } from '../../src/load/payload.ts';

describe('latency buckets', () => {
  it('hold every value with an error of at most 0.4 %, exactly below 256 ns', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 40 - 1 }), (ns) => {
        const found = bucketValue(bucketOf(ns));
        expect(Math.abs(found - ns)).toBeLessThanOrEqual(ns < 256 ? 0 : ns * 0.004);
      }),
    );
  });

  it('rise with the value, without a gap, and end in the last one', () => {
    expect(bucketOf(-5)).toBe(0);
    expect(bucketOf(255)).toBe(255);
    expect(bucketOf(256)).toBe(256);
    expect(bucketOf(511)).toBe(383);
    expect(bucketOf(512)).toBe(384);
    expect(bucketOf(2 ** 40 - 1)).toBe(BUCKETS - 1);
    expect(bucketOf(2 ** 60)).toBe(BUCKETS - 1);
  });

  it('give the percentiles of the values themselves, as a sort finds them', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 10_000_000 }), { minLength: 1, maxLength: 300 }), (values) => {
        const buckets = noBuckets();
        for (const value of values) buckets[bucketOf(value)]++;
        const sorted = [...values].sort((a, b) => a - b);
        for (const share of [0.5, 0.9, 0.99, 0.999]) {
          const exact = quantile(sorted, share);
          expect(Math.abs((percentile(buckets, share) ?? 0) * 1000 - exact)).toBeLessThanOrEqual(exact * 0.004 + 0.01);
        }
      }),
    );
  });

  it('survive the way through sparse pairs, and add up', () => {
    const [one, two] = [noBuckets(), noBuckets()];
    one[3] = 5;
    one[4000] = 7;
    addSparse(two, toSparse(one));
    addBuckets(two, one);
    expect([two[3], two[4000], two.reduce((a, b) => a + b)]).toEqual([10, 14, 24]);
  });

  it('are read by HdrHistogram from the summary, with the same count and percentiles', () => {
    const buckets = noBuckets();
    for (let i = 1; i <= 10_000; i++) buckets[bucketOf(i * 1000)]++;
    const summary = summarise(buckets);
    const histogram = hdr.decodeFromCompressedBase64(summary?.hdr ?? '');
    expect(histogram.totalCount).toBe(10_000);
    expect(histogram.getValueAtPercentile(99) / 9_900_000).toBeCloseTo(1, 2);
    expect(summary?.p99).toBeCloseTo(9_900, -2);
  });

  it('have a distribution that never falls, and end where the count does', () => {
    const buckets = noBuckets();
    for (let i = 1; i <= 1000; i++) buckets[bucketOf(i * 777)]++;
    const points = distribution(summarise(buckets)?.hdr ?? '');
    expect(points.every(([, us], i) => i === 0 || us >= points[i - 1][1])).toBe(true);
    expect(points.at(-1)?.[0]).toBeGreaterThan(0.999);
    expect(points.at(-1)?.[0]).toBeLessThan(0.9999);
  });

  it('summarise to nothing when nothing came', () => {
    expect(summarise(noBuckets())).toBeNull();
    expect(percentile(noBuckets(), 0.5)).toBeUndefined();
  });
});

describe("Jain's index", () => {
  it('is 1 for equal shares, 1/n when one takes all, and 1 when nobody gets anything', () => {
    expect(jainIndex([7, 7, 7, 7])).toBeCloseTo(1);
    expect(jainIndex([9, 0, 0, 0])).toBeCloseTo(0.25);
    expect(jainIndex([0, 0])).toBe(1);
  });

  it('lies between 1/n and 1, and does not know units', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 1e9 }), { minLength: 1, maxLength: 50 }), (shares) => {
        const index = jainIndex(shares);
        expect(index).toBeGreaterThanOrEqual(1 / shares.length - 1e-9);
        expect(index).toBeLessThanOrEqual(1 + 1e-9);
        expect(jainIndex(shares.map((share) => share * 8))).toBeCloseTo(index);
      }),
    );
  });

  it('goes with a median that is the middle, or the mean of both middles', () => {
    expect([median([3, 1, 2]), median([4, 1, 2, 3])]).toEqual([2, 2.5]);
  });
});

describe('the ledger', () => {
  const exact = (packets: number) => ({ where: 'server', reason: 'noBlock', packets, estimated: false, most: 0 });
  const trains = (packets: number, most = packets) => ({
    where: 'socket',
    reason: 'OVFL',
    packets,
    estimated: true,
    most,
  });

  it('balances: offered = delivered + losses + unexplained, whatever the counters say', () => {
    const counted = fc.record({ packets: fc.nat(2000), estimated: fc.boolean(), more: fc.nat(500) });
    fc.assert(
      fc.property(fc.nat(10_000), fc.nat(10_000), fc.array(counted, { maxLength: 5 }), (a, b, counts) => {
        const [offered, delivered] = [Math.max(a, b), Math.min(a, b)];
        const found = counts.map(({ packets, estimated, more }) =>
          estimated ? trains(packets, packets + more) : exact(packets),
        );
        const sure = found.filter(({ estimated }) => !estimated).reduce((sum, { packets }) => sum + packets, 0);
        fc.pre(sure <= offered - delivered);
        const ledger = balance(offered, delivered, found);
        const explained = ledger.losses.reduce((sum, { packets }) => sum + packets, 0);
        expect(Math.abs(offered - delivered - explained - ledger.unexplained)).toBeLessThanOrEqual(found.length);
      }),
    );
  });

  it('calls unexplained what no counter has seen', () => {
    expect(balance(100, 80, [exact(15)]).unexplained).toBe(5);
    expect(balance(100, 80, []).unexplained).toBe(20);
  });

  it('lets estimates give way to exact counters, never the other way round', () => {
    const { losses, unexplained } = balance(100, 80, [exact(15), trains(30)]);
    expect(losses.map(({ packets }) => packets)).toEqual([15, 5]);
    expect(unexplained).toBe(0);
  });

  it('lets lost trains have been longer than average, but not longer than they can be', () => {
    expect(balance(1000, 900, [trains(80, 150)])).toMatchObject({ losses: [{ packets: 100 }], unexplained: 0 });
    expect(balance(1000, 900, [trains(40, 60)])).toMatchObject({ losses: [{ packets: 60 }], unexplained: 40 });
  });

  it('has no loss when nothing was offered, and none below nothing', () => {
    expect(lossRatio({ offered: 0, delivered: 0 })).toBe(0);
    expect(lossRatio({ offered: 10, delivered: 11 })).toBe(0);
  });
});

describe('the payload', () => {
  const payloads = fc.record({
    type: fc.nat(3),
    flags: fc.nat(7),
    run: fc.nat(2 ** 32 - 1),
    client: fc.nat(9_999),
    sequence: fc.nat(Number.MAX_SAFE_INTEGER),
    timeNs: fc.nat(Number.MAX_SAFE_INTEGER),
    count: fc.nat(2 ** 32 - 1),
  });

  it('comes back as it was written, and fits a 64-byte packet behind IP and UDP', () => {
    fc.assert(
      fc.property(payloads, (payload) => {
        expect(decodePayload(encodePayload(payload))).toEqual(payload);
      }),
    );
    expect(PAYLOAD_BYTES).toBe(64 - 28);
  });

  it('is told from anything else, and anything else never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        fc.pre(bytes[0] !== 0x52);
        expect(decodePayload(bytes)).toBeUndefined();
      }),
    );
  });
});
