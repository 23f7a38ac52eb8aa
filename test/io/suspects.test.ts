/**
 * What the filter on the socket of sessions makes of those whose session is flooded, the map written by the test: their Expresslane numbers have a nearer
 * bound, and the numbers of their records are revealed, by AES in eBPF here and by OpenSSL in the model.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { createCipheriv, randomBytes } from 'node:crypto';
import { unsafe } from '@noble/ciphers/aes.js';
import fc from 'fast-check';
import { afterEach, describe, it } from 'vitest';
import { arriving, bytesOf, type Filtered, fromNow, MOST, openFiltered } from './filtered.ts';
import { filterRefusal } from './rig.ts';

const NEAR = 2n ** 16n;
const ID = 0x0123_4567_89ab_cdefn;
const UNKNOWN = 255;
const BLOCKS = 64;

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0).reverse()) close();
});

const refusal = filterRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

function open(shards = 1): Filtered {
  const filtered = openFiltered(shards);
  closing.push(filtered.close);
  return filtered;
}

const long = () => fromNow(1000);

/** The mask of a record's number (RFC 9147 §4.2.3), as a number of 16 bits. */
function maskOf(key: Uint8Array, sample: Uint8Array): number {
  const cipher = createCipheriv(`aes-${key.length * 8}-ecb`, key, null).setAutoPadding(false);
  return cipher.update(sample).readUInt16BE();
}

/** A record as our peers write them: no connection id, a number of 16 bits, a length. */
function recordOf(bits: number, hidden: number, body: Uint8Array, first = 0x2c): Uint8Array {
  const { length } = body;
  return Uint8Array.from([first | bits, hidden >> 8, hidden & 255, length >> 8, length & 255, ...body]);
}

/** As a shard tells it to the kernel. */
function epochOf(key: Uint8Array, low: number, span: number) {
  return { low, span, rounds: key.length === 16 ? 10 : 14, keys: unsafe.expandKeyLE(key) };
}

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const keys = fc.oneof(bytes(16), bytes(32));
const u16 = fc.nat(0xffff);
const spans = fc.oneof(u16, fc.constantFrom(0, 1, 4_096, 4_608, 0xffff, 0x10000));
const epochs = fc.array(fc.record({ key: keys, low: fc.oneof(u16, fc.constantFrom(0, 0xffff, 0xf000)), span: spans }), {
  minLength: 4,
  maxLength: 4,
});
const sent = fc.array(
  fc.record({
    bits: fc.nat(3),
    sample: bytes(16),
    tail: fc.nat(80),
    from: fc.constantFrom('low', 'end', 'anywhere'),
    off: fc.integer({ min: -2, max: 2 }),
    anywhere: u16,
  }),
  { minLength: 1, maxLength: 32 },
);

describe.skipIf(refusal !== undefined)('the filter, of a suspect’s records', () => {
  it('drops those whose number, as OpenSSL reveals it, is none of those that may come, and counts each', () => {
    const { ends, map } = open(2);
    const tally = { always: 0, seldom: 0, passedSeldom: 0 };
    const block = fc.integer({ min: 1, max: BLOCKS });
    const property = fc.property(fc.nat(1), block, epochs, sent, (shard, block, told, wishes) => {
      map.clear();
      map.tell(shard, { id: ID, floor: 0n, until: long(), block: BigInt(block) });
      for (const [bits, { key, low, span }] of told.entries())
        map.tellNumbers(shard, block, bits, epochOf(key, low, span));
      const passes: boolean[] = [];
      const datagrams = wishes.map(({ bits, sample, tail, from, off, anywhere }) => {
        const { key, low, span } = told[bits];
        const number = (from === 'low' ? low + off : from === 'end' ? low + span + off : anywhere) & 0xffff;
        passes.push(((number - low) & 0xffff) < span);
        const body = Buffer.concat([sample, randomBytes(tail)]);
        return bytesOf({ id: ID, lane: 0, record: recordOf(bits, number ^ maskOf(key, sample), body) });
      });
      const before = map.dropped(shard);
      const came = arriving(ends[shard], datagrams);
      const expected = passes.flatMap((each, i) => (each ? [i] : []));
      deepEqual(
        came.filter((i) => passes[i]),
        expected,
      );
      equal(map.dropped(shard) - before, datagrams.length - came.length);
      tally.always += expected.length;
      tally.seldom += datagrams.length - expected.length;
      tally.passedSeldom += came.length - expected.length;
    });
    fc.assert(property, { numRuns: 400 });
    ok(tally.always > 500 && tally.seldom > 500, JSON.stringify(tally));
    ok(tally.passedSeldom < tally.seldom / 8, JSON.stringify(tally)); // 1 in 256 is likely
  });

  it('lets one in 256 of those through', () => {
    const { ends, map } = open();
    map.tell(0, { id: ID, floor: 0n, until: long(), block: 1n });
    const key = randomBytes(16);
    map.tellNumbers(0, 1, 0, epochOf(key, 5, 0));
    const datagrams = Array.from({ length: 250 }, () =>
      bytesOf({ id: ID, lane: 0, record: recordOf(0, 0, randomBytes(16)) }),
    );
    let passed = 0;
    for (let round = 0; round < 40; round++) passed += arriving(ends[0], datagrams).length;
    equal(passed + map.dropped(0), 10_000);
    ok(passed > 4 && passed < 101, `${passed}`); // 39 is likely; others less than once in 10^11 runs
  });

  /** So many that where most are dropped not 16 are left by chance. */
  const many = (record: () => Uint8Array, length?: number) =>
    Array.from({ length: 128 }, () =>
      bytesOf({ id: ID, lane: 0, record: record(), ...(length === undefined ? {} : { length }) }),
    );

  it('drops most of an epoch that has no key, and nothing of one whose numbers it cannot reveal', () => {
    const { ends, map } = open();
    map.tell(0, { id: ID, floor: 0n, until: long(), block: 64n });
    map.tellNumbers(0, 64, 1, { low: 0, span: 0x10000, rounds: 0 });
    map.tellNumbers(0, 64, 2, { low: 0, span: 0, rounds: UNKNOWN });
    const came = (bits: number) =>
      arriving(
        ends[0],
        many(() => recordOf(bits, 7, randomBytes(40))),
      ).length;
    for (const bits of [0, 1, 3]) ok(came(bits) < 16);
    equal(came(2), 128);
  });

  it('lets through whatever it has no block for, and all records but those its peers write', () => {
    const { ends, map } = open();
    const key = randomBytes(32);
    const tell = (block: bigint, until = long()) => {
      map.tell(0, { id: ID, floor: 0n, until, block });
      for (let bits = 0; bits < 4; bits++) map.tellNumbers(0, 1, bits, epochOf(key, 9, 0)); // nothing may come
    };
    const all = (record: () => Uint8Array, length?: number) =>
      equal(arriving(ends[0], many(record, length)).length, 128);
    const usual = () => recordOf(3, 9, randomBytes(16));
    for (const block of [0n, 65n, 66n, 2n ** 32n + 1n, 2n ** 64n - 1n]) {
      tell(block);
      all(usual);
    }
    tell(1n, 0n);
    all(usual);
    tell(1n, fromNow(-0.001));
    all(usual);
    tell(1n);
    for (const first of [0x20, 0x24, 0x28, 0x30, 0x34, 0x38, 0x3c, 0x6c, 0xac, 0x0c])
      all(() => recordOf(3, 9, randomBytes(32), first));
    for (const type of [20, 21, 22, 23, 26]) all(() => Uint8Array.from([type, ...randomBytes(60)]));
    for (const length of [16, 17, 23, 24, 30, 36]) all(usual, length);
    equal(map.dropped(0), 0);
    ok(arriving(ends[0], many(usual, 37)).length < 16); // the shortest it judges
  });

  it('knows them by the tag of their entry too', () => {
    const { ends, map } = open();
    map.tell(0, { id: ID, tag: 5n, floor: 1000n, until: long(), block: 1n });
    equal(arriving(ends[0], [bytesOf({ id: ID, lane: 0, record: recordOf(0, 1, randomBytes(16)) })]).length, 1);
    equal(map.dropped(0), 0);
  });
});

describe.skipIf(refusal !== undefined)('the filter, of a suspect’s Expresslane', () => {
  const came = ({ ends }: Filtered, counters: readonly bigint[], length = 60) =>
    arriving(
      ends[0],
      counters.flatMap((counter) => Array(8).fill(bytesOf({ id: ID, counter, length }))),
    );
  const all = (from: number, count: number) => Array.from({ length: 8 * count }, (_, i) => 8 * from + i);

  it('drops most numbers that are 2^16 above the floor, and no nearer one', () => {
    const filtered = open();
    filtered.map.tell(0, { id: ID, floor: 1000n, until: long() });
    const near = [1000n, 1001n, 1000n + NEAR - 1n];
    deepEqual(came(filtered, near), all(0, 3));
    equal(came(filtered, [0n, 999n]).length, 0);
    let passed = 0;
    const ahead = [1000n + NEAR, 1000n + NEAR + 1n, 1n << 21n, (1n << 22n) + 999n, 2n ** 63n];
    for (let round = 0; round < 25; round++) passed += came(filtered, ahead).length;
    ok(passed < 60, `${passed}`); // of 1,000: 4 are likely
    equal(filtered.map.dropped(0), 16 + 1000 - passed);
  });

  it.each(['of no time', 'past'])('judges as of anybody where `until` is %s', (when) => {
    const filtered = open();
    filtered.map.tell(0, { id: ID, floor: 1000n, until: when === 'past' ? fromNow(-0.001) : 0n, block: 1n });
    const ahead = [1000n + NEAR, 1000n + (1n << 22n) - 1n];
    deepEqual(came(filtered, ahead), all(0, 2));
    equal(came(filtered, [999n]).length, 0);
  });

  it('has no bound where no floor is told, where none could be raised, and for what is too short to be judged', () => {
    const filtered = open();
    filtered.map.tell(0, { id: ID, floor: 0n, until: long(), block: 1n });
    const high = [2n ** 48n, 2n ** 64n - 1n];
    deepEqual(came(filtered, high), all(0, 2));
    filtered.map.tell(0, { id: ID, floor: MOST - NEAR + 1n, until: long() });
    deepEqual(came(filtered, high), all(0, 2));
    filtered.map.tell(0, { id: ID, floor: 1000n, until: long() });
    deepEqual(came(filtered, [0n, ...high], 55), all(0, 3));
    equal(filtered.map.dropped(0), 0);
  });
});
