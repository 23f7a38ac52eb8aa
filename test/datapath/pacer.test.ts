/** pacer.release: the native one against the reference, and what both promise. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HEADER, Verdict } from '../../src/datapath/batch.ts';
import { SlotFlag } from '../../src/datapath/layout.ts';
import { PACER_STATE, type Pacer, UNLIMITED } from '../../src/datapath/pacer.ts';
import { build, concat, pattern, TCP, UDP } from '../packet/packets.ts';
import { backends, nativeBackends } from './backends.ts';
import { give, offloaded, type Superpacket, superpackets } from './traffic.ts';
import {
  bytesAt,
  countersOf,
  createReferenceWorld,
  entriesOf,
  insideOf,
  SLOTS,
  Slot,
  setUp,
  tableDifferences,
  type World,
} from './world.ts';

const RUNS = Number(process.env.RINGWAY_ORACLE_RUNS ?? 120);
const SEED = Number(process.env.RINGWAY_ORACLE_SEED ?? 0);
const TRAIN_SEGMENTS = 16;

/** A world with a pacer, as pipeline.ts drives both. */
class Paced {
  readonly world: World;
  readonly pacer: Pacer;

  constructor(world: World, trainSegments = TRAIN_SEGMENTS) {
    this.world = world;
    setUp(world);
    this.pacer = world.createPacer(trainSegments);
  }

  pace(slot: number, kilobits: number): this {
    this.world.table.fields.paceRate.set(slot, kilobits);
    return this;
  }

  step(now: number, all: readonly Superpacket[], budget = UNLIMITED): number {
    const { nodes, fromTun, released } = this.world;
    for (const batch of [fromTun, released]) nodes.clear(batch);
    give(this.world, all);
    nodes.lookup(fromTun);
    return this.pacer.release(fromTun, true, now, budget);
  }

  /** What goes on to lanes.seal in this step, in order. */
  passed(): { slot: number; bytes: Uint8Array }[] {
    return [this.world.fromTun, this.world.released].flatMap((batch) =>
      Array.from({ length: batch.header[HEADER.count] }, (_, i) => ({
        slot: batch.slot[i],
        bytes: bytesAt(batch, i),
      })).filter((_, i) => batch.verdict[i] === Verdict.pass),
    );
  }

  get waiting(): number {
    return this.pacer.state[PACER_STATE.pieces];
  }
}

const tcp = (slot: number, bytes: number, seed = 0, segment = 1298): Superpacket =>
  offloaded(build({ ...TCP, destination: insideOf(slot), payload: pattern(bytes, seed), flags: 0x18 }), 1, segment);
const small = (slot: number, seed: number, bytes = 100): Superpacket => ({
  ...offloaded(build({ ...UDP, destination: insideOf(slot), payload: pattern(bytes, seed) }), 0, 0),
});

describe.each(nativeBackends.slice(0, 1))('pacer.release of the $name', ({ create }) => {
  it('keeps, releases and drops what the reference does, at the same times', () => {
    const steps = fc.array(
      fc.record({
        wait: fc.constantFrom(0, 1, 40, 179.2, 1000, 30_000),
        all: fc.array(superpackets, { maxLength: 5 }),
        budget: fc.constantFrom(UNLIMITED, UNLIMITED, UNLIMITED, 0, 3_000, 200_000),
        forget: fc.option(fc.nat(SLOTS - 1), { freq: 9 }),
        superseded: fc.boolean(),
      }),
      { minLength: 1, maxLength: 12 },
    );
    const rates = fc.array(fc.constantFrom(0, 64, 10_000, 100_000, 1_000_000, 40_000_000), {
      minLength: SLOTS,
      maxLength: SLOTS,
    });
    const worlds = [createReferenceWorld(), create()] as const;
    const met = new Set<string>();
    const look = ({ world, pacer }: Paced) => ({
      arrived: entriesOf(world.fromTun),
      released: entriesOf(world.released),
      state: [...pacer.state],
      counters: countersOf(world),
    });
    fc.assert(
      fc.property(steps, rates, fc.constantFrom(1, 2, 16, 64), (all, kilobits, trainSegments) => {
        const both = worlds.map((world) => new Paced(world, trainSegments));
        for (const each of both) for (let slot = 0; slot < SLOTS; slot++) each.pace(slot, kilobits[slot]);
        let now = 1_000_000;
        for (const { wait, all: arrivals, budget, forget, superseded } of all) {
          now += wait;
          if (forget !== null) {
            const [expected, actual] = both.map(({ pacer }) => pacer.forget(forget, superseded));
            expect(actual).toBe(expected);
          }
          for (const each of both) each.step(now, arrivals, budget);
          const [expected, actual] = both.map(look);
          expect(actual).toEqual(expected);
          expect(tableDifferences(worlds[1].table, worlds[0].table)).toEqual([]);
          for (const name of Object.keys(expected.counters)) met.add(name);
          for (const { verdict } of expected.released.entries) met.add(`released ${verdict}`);
        }
      }),
      { seed: SEED + 201, endOnFailure: true, numRuns: RUNS / 2 },
    );
    expect([...met]).toEqual(expect.arrayContaining(['held', 'notOnline', 'released pass']));
  });

  it('refuses batches and numbers that cannot be', () => {
    const { world, pacer } = new Paced(create());
    expect(() => pacer.release(world.released, true, 0, 0)).toThrow(/another arena/);
    expect(() => pacer.release(world.fromTun, true, -1, 0)).toThrow(/pacerRelease: now/);
    expect(() => pacer.release(world.fromTun, true, 0, 2 ** 32)).toThrow(/pacerRelease: budget/);
    expect(() => pacer.forget(SLOTS, false)).toThrow(/pacerForget: slot/);
    expect(() => world.createPacer(129)).toThrow(/createPacer: trainSegments/);
  });
});

describe.each(backends)('pacer.release, $name', ({ create }) => {
  it('leaves sessions without a rate alone', () => {
    const paced = new Paced(create());
    expect(paced.step(1_000, [tcp(Slot.lane, 60_000), small(Slot.records, 1)])).toBe(0);
    expect(paced.passed().map(({ slot }) => slot)).toEqual([Slot.lane, Slot.records]);
    expect(paced.pacer.state[PACER_STATE.deadline]).toBe(Number.POSITIVE_INFINITY);
  });

  it('cuts a superpacket into trains of 16 and lets them leave at the rate, the same segments in all', () => {
    const paced = new Paced(create()).pace(Slot.lane, 1_000_000);
    const { nodes, sealed, released } = paced.world;
    const datagrams: number[] = [];
    const times: number[] = [];
    let now = 5_000_000;
    paced.step(now, [tcp(Slot.lane, 48 * 1298)]);
    for (; ; paced.step(now, [])) {
      nodes.clear(sealed);
      nodes.seal(released, sealed, 64, now);
      for (let i = 0; i < sealed.header[HEADER.count]; i++)
        datagrams.push(Math.ceil(sealed.length[i] / (sealed.segmentSize[i] || sealed.length[i])));
      times.push(now);
      if (paced.waiting === 0) break;
      now = paced.pacer.state[PACER_STATE.deadline];
    }
    expect(datagrams).toEqual([16, 16, 16]);
    const wire = 16 * (40 + 1298 + 84);
    const gaps = times.slice(1).map((time, i) => time - times[i]);
    // what the first train is short of 24,000 bytes, a session at rest has saved
    expect(gaps[0]).toBeCloseTo(((wire - (24_000 - wire)) * 8) / 1000, 6);
    expect(gaps[1]).toBeCloseTo((wire * 8) / 1000, 6);
  });

  it('makes up for a late departure at 8/7 of the rate, not by a burst', () => {
    const paced = new Paced(create()).pace(Slot.lane, 100_000); // trains of 12,500 bytes: 1 ms
    paced.step(1_000_000, [tcp(Slot.lane, 60_000), tcp(Slot.lane, 60_000)]);
    const wire = 8 * (40 + 1298 + 84);
    const gaps: number[] = [];
    for (let now = 1_004_000; gaps.length < 4; ) {
      paced.step(now, []);
      const next = paced.pacer.state[PACER_STATE.deadline];
      gaps.push(next - now);
      now = next;
    }
    for (const gap of gaps.slice(1)) expect(gap).toBeCloseTo(wire * 0.08 * 0.875, 6);
  });

  it('lets a burst of small packets pass that is no longer than a train, and spaces the rest', () => {
    const paced = new Paced(create()).pace(Slot.records, 10_000); // a train is 3,000 bytes: 2.4 ms
    const packets = Array.from({ length: 30 }, (_, i) => small(Slot.records, i));
    paced.step(1_000_000, packets);
    const first = paced.passed().length;
    expect(first).toBe(Math.floor(3_000 / (128 + 84)));
    for (let now = 1_000_100; paced.waiting > 0; now += 100) paced.step(now, []);
    expect(countersOf(paced.world)).toEqual({ held: 30 - first });
  });

  it('keeps the order of a session whatever the budget is', () => {
    const paced = new Paced(create()).pace(Slot.oldLane, 50_000);
    const seen: Record<number, number[]> = { [Slot.lane]: [], [Slot.oldLane]: [] };
    for (let step = 0; step < 800; step++) {
      const arrivals = step < 200 ? [Slot.lane, Slot.oldLane].map((slot) => small(slot, step, 2 + step)) : [];
      paced.step(1_000_000 + 500 * step, arrivals, step % 3 === 0 ? 700 : step % 5 === 0 ? 0 : UNLIMITED);
      for (const { slot, bytes } of paced.passed()) seen[slot].push(bytes.length);
    }
    const inOrder = Array.from({ length: 200 }, (_, i) => 30 + i);
    expect(seen).toEqual({ [Slot.lane]: inOrder, [Slot.oldLane]: inOrder });
  });

  it('bounds the queue of each session, and drops only what is beyond it', () => {
    const paced = new Paced(create());
    const greedy = Array.from({ length: 8 }, (_, i) => tcp(Slot.lane, 60_000, i));
    paced.step(1_000_000, [...greedy, small(Slot.records, 1)], 0);
    expect(countersOf(paced.world)).toEqual({ held: 5, pacerFull: 4 * 47 }); // 4 x 60,000 bytes, and the small one
    paced.step(1_000_100, [], UNLIMITED);
    expect(paced.passed()).toHaveLength(5);
  });

  it('takes turns between sessions when the budget is short: the greedy one waits until it has saved a superpacket', () => {
    const paced = new Paced(create());
    const greedy = Array.from({ length: 4 }, (_, i) => tcp(Slot.lane, 60_000, i));
    paced.step(1_000_000, [...greedy, small(Slot.records, 1), small(Slot.records, 2)], 0);
    paced.step(1_000_100, [], 60_200);
    expect(paced.passed().map(({ slot }) => slot)).toEqual([Slot.records, Slot.records, Slot.lane]);
  });

  it('lets who has nothing waiting and sends little pass at once, while others take turns', () => {
    const paced = new Paced(create());
    const greedy = Array.from({ length: 4 }, (_, i) => tcp(Slot.lane, 60_000, i));
    paced.step(1_000_000, greedy, 60_000);
    paced.step(1_000_100, [tcp(Slot.lane, 60_000), small(Slot.records, 1), tcp(Slot.lane, 60_000)], 4_000);
    expect(paced.passed().map(({ slot }) => slot)).toEqual([Slot.records, Slot.lane]);
    expect([...paced.world.fromTun.verdict.slice(0, 3)]).toEqual([Verdict.held, Verdict.pass, Verdict.pacerFull]);
  });

  it('never paces a session over TCP', () => {
    const paced = new Paced(create()).pace(Slot.stream, 64);
    expect(paced.world.table.fields.flags.get(Slot.stream)).toBe(SlotFlag.stream);
    expect(paced.step(1_000_000, [tcp(Slot.stream, 60_000), tcp(Slot.stream, 60_000)])).toBe(0);
    expect(countersOf(paced.world)).toEqual({});
  });

  it.each([
    [false, 'notOnline'],
    [true, 'superseded'],
  ])('drops what waits in a slot by segments, of another session when superseded: %s', (superseded, reason) => {
    const paced = new Paced(create()).pace(Slot.lane, 1_000);
    paced.step(1_000_000, [tcp(Slot.lane, 20 * 1_298), tcp(Slot.records, 1_000)]);
    const waiting = paced.waiting;
    expect(waiting).toBeGreaterThan(5);
    expect(paced.pacer.forget(Slot.lane, superseded)).toBe(2 * waiting); // each of a train of two
    expect(paced.pacer.forget(Slot.lane, superseded)).toBe(0);
    expect(paced.waiting).toBe(0);
    paced.step(9_000_000, []);
    expect(paced.passed()).toEqual([]);
    expect(countersOf(paced.world)).toEqual({ held: 1, [reason]: 2 * waiting });
  });

  it('makes slices whose payload is the whole, in order', () => {
    const paced = new Paced(create()).pace(Slot.lane, 500_000);
    const payload = pattern(50_001, 7);
    paced.step(1_000_000, [tcp(Slot.lane, 50_001, 7)]);
    const parts: Uint8Array[] = [];
    for (let now = 1_000_000; ; now = paced.pacer.state[PACER_STATE.deadline]) {
      if (now > 1_000_000) paced.step(now, []);
      parts.push(...paced.passed().map(({ bytes }) => bytes.subarray(40)));
      if (paced.waiting === 0) break;
    }
    expect(parts.length).toBeGreaterThan(2);
    expect(Buffer.compare(concat(...parts), payload)).toBe(0);
  });
});
