/** The native nodes against the reference nodes: whatever comes in, both leave the same entries, slots and counters. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Batch, GsoType, HEADER } from '../../src/datapath/batch.ts';
import { ARRIVAL } from '../../src/datapath/limits.ts';
import type { CoalesceMode } from '../../src/datapath/nodes.ts';
import { addon, nativeBackends } from './backends.ts';
import {
  type Burst,
  bursts,
  edgeBursts,
  flowBursts,
  give,
  receive,
  type Superpacket,
  superpackets,
} from './traffic.ts';
import {
  countersOf,
  createReferenceWorld,
  entriesOf,
  SLOTS,
  Slot,
  setUp,
  tableDifferences,
  type World,
} from './world.ts';

const NOW = 1_234_567.25;
/** What the nodes may say of an entry; the rest of the list belongs to ports, handover and `tooLarge` superpackets. */
const NODE_VERDICTS = [
  ...[
    'divert',
    'elsewhere',
    'reject',
    'tooShort',
    'badMagic',
    'badVersion',
    'versionMismatch',
    'rejectedId',
    'notOnline',
  ],
  ...['overload', 'replayed', 'forged', 'malformed', 'notIpv4', 'noRoute', 'badGso', 'superseded'],
  ...['noKey', 'unprotected', 'unknownId'],
];
const RUNS = Number(process.env.RINGWAY_ORACLE_RUNS ?? 120); // a longer look: RINGWAY_ORACLE_RUNS=5000
const SEED = Number(process.env.RINGWAY_ORACLE_SEED ?? 0);

describe.skipIf(addon === undefined)('without the addon there is nothing to compare', () => {
  it('finds at least one AEAD backend', () => {
    expect(nativeBackends.length).toBeGreaterThan(0);
  });
});

describe.each(nativeBackends)('$name', ({ create }) => {
  const both = [createReferenceWorld(), create()] as const;
  const copying = [both[0], create({ copies: true })] as const;
  const single = [createReferenceWorld({ single: Slot.client }), create({ single: Slot.client })] as const;

  /** Verdicts, kinds of entries and of superpackets that both sides have given. */
  const met = new Set<string>();

  /** Runs the same on both sides. @param look everything that must be equal afterwards */
  function agree(worlds: readonly [World, World], what: string, look: (world: World) => unknown): void {
    const [reference, native] = worlds.map(look);
    expect(native, what).toEqual(reference);
    expect(worlds.map(countersOf)[1], `counters after ${what}`).toEqual(worlds.map(countersOf)[0]);
    expect(tableDifferences(worlds[1].table, worlds[0].table), `table after ${what}`).toEqual([]);
    for (const verdict of Object.keys(countersOf(worlds[0]))) met.add(verdict);
    const { packets, toTun, sealed } = worlds[0];
    for (let i = 0; i < packets.header[HEADER.count]; i++) met.add(`kind ${packets.kind[i]}`);
    for (let i = 0; i < toTun.header[HEADER.count]; i++) met.add(`to TUN ${toTun.kind[i]}`);
    if (worlds[1].toTun.kind.includes(GsoType.piece)) met.add('pieces');
    for (let i = 0; i < sealed.header[HEADER.count]; i++)
      met.add(`sealed ${sealed.flags[i]} ${sealed.epoch[i]} ${sealed.segmentSize[i] > 0}`);
  }

  function uplink(worlds: readonly [World, World], all: readonly Burst[], mode: CoalesceMode): void {
    for (const world of worlds) receive(world, all);
    agree(worlds, 'locate', (world) => [world.nodes.locate(world.trains), entriesOf(world.trains)]);
    for (let more = true; more; ) {
      for (const world of worlds) world.nodes.clear(world.packets);
      agree(worlds, 'open', (world) => [
        world.nodes.open(world.trains, world.packets, NOW),
        entriesOf(world.packets),
        world.packets.header[HEADER.wanted],
        world.trains.header[HEADER.consumed],
      ]);
      agree(worlds, 'admit', (world) => [world.nodes.admit(world.packets, NOW), entriesOf(world.packets)]);
      for (let before = -1; before !== worlds[0].packets.header[HEADER.consumed]; ) {
        before = worlds[0].packets.header[HEADER.consumed];
        for (const world of worlds) world.nodes.clear(world.toTun);
        agree(worlds, `coalesce ${mode}`, (world) => [
          world.nodes.coalesce(world.packets, world.toTun, mode),
          entriesOf(world.toTun),
          world.packets.header[HEADER.consumed],
        ]);
        if (worlds[0].packets.header[HEADER.consumed] === worlds[0].packets.header[HEADER.count]) break;
      }
      more = worlds[0].trains.header[HEADER.consumed] < worlds[0].trains.header[HEADER.count];
    }
  }

  function downlink(worlds: readonly [World, World], all: readonly Superpacket[], maxSegments: number): void {
    for (const world of worlds) give(world, all);
    agree(worlds, 'lookup', (world) => [world.nodes.lookup(world.fromTun), entriesOf(world.fromTun)]);
    for (let before = -1; before < worlds[0].fromTun.header[HEADER.consumed]; ) {
      before = worlds[0].fromTun.header[HEADER.consumed];
      for (const world of worlds) world.nodes.clear(world.sealed);
      agree(worlds, 'seal', (world) => [
        world.nodes.seal(world.fromTun, world.sealed, maxSegments, NOW),
        entriesOf(world.sealed),
        leftOf(world.fromTun),
      ]);
    }
  }

  /** Superpackets, without the bytes of those that were taken: they have no meaning. */
  function leftOf(batch: Batch): unknown[] {
    const { consumed, entries } = entriesOf(batch);
    return [
      consumed,
      entries.map((entry, i) => (i < consumed && entry.verdict === 'pass' ? { ...entry, bytes: '' } : entry)),
    ];
  }

  const modes = fc.constantFrom<CoalesceMode>('inline', 'inline', 'tcp', 'off');

  it('opens, admits and coalesces what peers and strangers send', () => {
    fc.assert(
      fc.property(bursts(), modes, (all, mode) => {
        for (const world of both) setUp(world);
        uplink(both, all, mode);
      }),
      { seed: SEED + 101, endOnFailure: true, numRuns: RUNS },
    );
  });

  it('opens, admits and coalesces flows of one client, reordered, repeated and interleaved', () => {
    fc.assert(
      fc.property(flowBursts, modes, (all, mode) => {
        for (const world of both) setUp(world);
        uplink(both, [...all, ...all], mode);
      }),
      { seed: SEED + 102, endOnFailure: true, numRuns: RUNS / 2 },
    );
  });

  it('copies superpackets into other blocks with the same bytes', () => {
    fc.assert(
      fc.property(flowBursts, modes, (all, mode) => {
        for (const world of copying) setUp(world);
        uplink(copying, all, mode);
      }),
      { seed: SEED + 109, endOnFailure: true, numRuns: RUNS / 4 },
    );
  });

  it('drops the same strangers and the same excess of a session, unopened', () => {
    const limits = fc.record({
      strangers: fc.nat(6),
      interval: fc.nat(3),
      pail: fc.integer({ min: 120_000, max: 131_072 }),
      rate: fc.nat(9_000),
      rejects: fc.nat(2),
    });
    fc.assert(
      fc.property(bursts(), limits, (all, { strangers, interval, pail, rate, rejects }) => {
        for (const world of both) {
          setUp(world);
          world.limits.limits.set([strangers, interval, 4, rate, rejects]);
          for (let slot = 0; slot < SLOTS; slot++)
            world.limits.arrivals.set([slot & 3, 100, slot, pail], ARRIVAL.words * slot);
        }
        uplink(both, all, 'off');
        const [reference, native] = both.map(({ limits: each }) => [[...each.limits], [...each.arrivals]]);
        expect(native).toEqual(reference);
      }),
      { seed: SEED + 108, endOnFailure: true, numRuns: RUNS },
    );
  });

  it('moves windows alike through a whole life of numbers', () => {
    for (const world of both) setUp(world);
    fc.assert(
      fc.property(bursts(3), (all) => {
        for (const world of both)
          for (const batch of [world.trains, world.packets, world.toTun]) world.nodes.clear(batch);
        uplink(both, all, 'off');
      }),
      { seed: SEED + 103, endOnFailure: true, numRuns: RUNS },
    );
  });

  it('agrees about numbers at the very edge of a window', () => {
    fc.assert(
      fc.property(edgeBursts, (all) => {
        for (const world of both) setUp(world);
        uplink(both, all, 'off');
      }),
      { seed: SEED + 107, endOnFailure: true, numRuns: RUNS },
    );
  });

  it('looks up, segments and seals what a TUN device gives', () => {
    const options = fc.tuple(
      fc.array(superpackets, { minLength: 1, maxLength: 6 }),
      fc.constantFrom(1, 2, 46, 64, 128),
    );
    fc.assert(
      fc.property(options, ([all, maxSegments]) => {
        for (const world of both) setUp(world);
        downlink(both, all, maxSegments);
      }),
      { seed: SEED + 104, endOnFailure: true, numRuns: RUNS / 2 },
    );
  });

  it('does the same as a client, where every datagram and packet is of one session', () => {
    fc.assert(
      fc.property(bursts(2), fc.array(superpackets, { minLength: 1, maxLength: 3 }), (all, down) => {
        for (const world of single) setUp(world);
        uplink(single, all, 'inline');
        downlink(single, down, 64);
      }),
      { seed: SEED + 105, endOnFailure: true, numRuns: RUNS / 2 },
    );
  });

  it('stops at the same places when batches are small', () => {
    const small = [createReferenceWorld({ capacity: 32 }), create({ capacity: 32 })] as const;
    fc.assert(
      fc.property(flowBursts, fc.array(superpackets, { minLength: 1, maxLength: 5 }), (all, down) => {
        for (const world of small) setUp(world);
        uplink(small, all, 'inline');
        downlink(small, down, 2);
      }),
      { seed: SEED + 106, endOnFailure: true, numRuns: RUNS / 4 },
    );
  });

  it('has met every verdict of these nodes, every kind of entry and every kind of train on the way', () => {
    const drops = NODE_VERDICTS.filter((name) => !met.has(name));
    expect(drops).toEqual([]);
    const shapes = ['kind 0', 'kind 21', 'kind 22', 'kind 23', 'kind 26', 'to TUN 0', 'to TUN 1', 'to TUN 5', 'pieces'];
    expect(shapes.filter((name) => !met.has(name))).toEqual([]);
    const paths = ['sealed 16 0 true', 'sealed 16 0 false', 'sealed 0 5 true', 'sealed 0 5 false', 'sealed 0 0 false'];
    expect(paths.filter((name) => !met.has(name))).toEqual([]);
  });
});
