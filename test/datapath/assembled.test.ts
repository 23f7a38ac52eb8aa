/**
 * Superpackets that are put together while they are opened: packet by packet what the reference nodes give, which open one by one; with both AEADs.
 * native/fuzz/assembly.cc is the same for trains that no generator here makes.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Batch, Flag, HEADER } from '../../src/datapath/batch.ts';
import type { CoalesceMode } from '../../src/datapath/nodes.ts';
import { fold, readU16 } from '../../src/packet/checksum.ts';
import { Ipv4, pseudoHeaderSum4 } from '../../src/packet/ip.ts';
import { planCut, segmentLength, writeSegment } from '../../src/packet/segment.ts';
import { build, concat, pattern, TCP } from '../packet/packets.ts';
import { nativeBackends } from './backends.ts';
import { dataFrame, header, sealRecord } from './peer.ts';
import { type Burst, bursts, flowBursts, laneDatagram, receive } from './traffic.ts';
import {
  addressOf,
  countersOf,
  createReferenceWorld,
  headsOf,
  idOf,
  recordKey,
  Slot,
  setUp,
  tableDifferences,
  type World,
  wholeAt,
} from './world.ts';

const NOW = 7;
const RUNS = Number(process.env.RINGWAY_ORACLE_RUNS ?? 120);

/** The packets of a batch by session and flow, in order. Identifications mean nothing where DF is set (RFC 6864), and are left out. */
function packetsOf(batch: Batch, into: Map<string, string[]>): void {
  for (const head of headsOf(batch)) {
    const whole = wholeAt(batch, head);
    const partial = (batch.flags[head] & Flag.needsChecksum) !== 0;
    if (partial) {
      const field = readU16(whole, batch.checksumStart[head] + batch.checksumOffset[head]);
      expect(field, 'what the kernel adds the rest to').toBe(
        fold(pseudoHeaderSum4(whole, 0, whole[9], whole.length - 20)),
      );
    }
    const cut = planCut(whole, 0, whole.length, batch.kind[head], batch.segmentSize[head], partial);
    for (let i = 0; i < (cut?.segments ?? 1); i++) {
      const packet = new Uint8Array(cut ? segmentLength(whole.length, cut, i) : whole.length);
      if (cut) writeSegment(whole, 0, whole.length, cut, i, packet, 0);
      else packet.set(whole);
      if ((packet[6] & 0x40) !== 0) for (const at of [Ipv4.id, Ipv4.checksum]) packet.fill(0, at, at + 2);
      const flow = `${batch.slot[head]} ${Buffer.from(packet.subarray(9, 10)).toString('hex')} ${Buffer.from(packet.subarray(12, 24)).toString('hex')}`;
      into.set(flow, [...(into.get(flow) ?? []), Buffer.from(packet).toString('hex')]);
    }
  }
}

/** @returns what came out, and how many packets were put behind others while they were opened */
function up(world: World, all: readonly Burst[], mode: CoalesceMode) {
  const { nodes, trains, packets, toTun } = world;
  const flows = new Map<string, string[]>();
  let followed = 0;
  receive(world, all);
  nodes.locate(trains);
  do {
    nodes.clear(packets);
    nodes.open(trains, packets, NOW, mode);
    followed += packets.header[HEADER.followed];
    nodes.admit(packets, NOW);
    do {
      nodes.clear(toTun);
      nodes.coalesce(packets, toTun, mode);
      packetsOf(toTun, flows);
    } while (packets.header[HEADER.consumed] < packets.header[HEADER.count]);
  } while (trains.header[HEADER.consumed] < trains.header[HEADER.count]);
  return { flows: Object.fromEntries([...flows].sort()), followed };
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);
const laneBurst = (inner: readonly Uint8Array[]): Burst => ({
  address: addressOf(Slot.lane),
  datagrams: inner.map((packet, i) => laneDatagram(Slot.lane, BigInt(i + 1), packet)),
});
const EPOCH = 5;
const recordBurst = (inner: readonly Uint8Array[]): Burst => ({
  address: addressOf(Slot.records),
  datagrams: inner.map((packet, i) =>
    concat(
      header(idOf(Slot.records), false),
      sealRecord(recordKey(Slot.records, 'receive', EPOCH), 700 + i, 23, dataFrame(packet)),
    ),
  ),
});

describe.each(nativeBackends)('$name', ({ create }) => {
  const reference = createReferenceWorld();
  const native = create();

  function compare(all: readonly Burst[], mode: CoalesceMode): number {
    for (const world of [reference, native]) setUp(world);
    const expected = up(reference, all, mode);
    const { flows, followed } = up(native, all, mode);
    expect(flows).toEqual(expected.flows);
    expect(countersOf(native)).toEqual(countersOf(reference));
    expect(tableDifferences(native.table, reference.table)).toEqual([]);
    return followed;
  }

  const modes = fc.constantFrom<CoalesceMode>('inline', 'tcp', 'off');

  it.each(['lane', 'records'] as const)(
    'gives the same packets of flows that take turns, lose and push, over %s',
    (way) => {
      let followed = 0;
      const stretches = fc.array(
        fc.record({
          flow: fc.nat(2),
          count: fc.integer({ min: 1, max: 14 }),
          last: fc.integer({ min: 1, max: 1_300 }),
          lost: fc.nat(12),
          flags: fc.constantFrom(0x10, 0x10, 0x18),
        }),
        { minLength: 1, maxLength: 8 },
      );
      fc.assert(
        fc.property(stretches, fc.constantFrom(1_300, 300, 48), modes, (all, size, mode) => {
          const sequences = [0, 0, 0];
          const inner = all.flatMap(({ flow, count, last, lost, flags }) =>
            upTo(count).flatMap((i) => {
              const payload = pattern(i === count - 1 ? Math.min(last, size) : size, i + flow);
              const sequence = sequences[flow];
              sequences[flow] += payload.length;
              const ends = i === count - 1;
              const packet = build({
                ...TCP,
                ports: [4_000 + flow, 443],
                payload,
                sequence,
                flags: ends ? flags : 0x10,
              });
              return i === lost ? [] : [packet];
            }),
          );
          followed += compare([{ lane: laneBurst, records: recordBurst }[way](inner)], mode);
        }),
        { seed: 201, endOnFailure: true, numRuns: RUNS },
      );
      expect(followed).toBeGreaterThan(5 * RUNS);
    },
  );

  it('gives the same packets of flows that interleave, repeat and swap', () => {
    fc.assert(
      fc.property(flowBursts, modes, (all, mode) => {
        compare([...all, ...all], mode);
      }),
      { seed: 203, endOnFailure: true, numRuns: RUNS / 2 },
    );
  });

  it('gives the same packets of whatever peers and strangers send', () => {
    fc.assert(
      fc.property(bursts(), modes, (all, mode) => {
        compare(all, mode);
      }),
      { seed: 202, endOnFailure: true, numRuns: RUNS },
    );
  });

  const segment = (number: number, size: number, options: Partial<typeof TCP> = {}) =>
    build({ ...TCP, payload: pattern(size, number), sequence: number * size, ...options });

  it.each([40, 1_300])('makes one entry of a train of one flow, %i bytes each', (size) => {
    const one = laneBurst(upTo(30).map((i) => segment(i, size)));
    compare([one], 'inline'); // learns how long headers are
    expect(compare([one], 'inline')).toBe(29);
    expect(headsOf(native.toTun).length).toBe(1);
    expect(native.toTun.header[HEADER.count]).toBe(1); // and no pieces
  });

  it('puts back what does not follow, and what is behind it', () => {
    const inner = upTo(24).map((i) => segment(i, 1_300));
    inner[11] = segment(11, 1_300, { ports: [1, 2] });
    inner[20][1_000] ^= 1; // its checksum is wrong
    compare([laneBurst(inner)], 'inline');
    const followed = compare([laneBurst(inner)], 'inline');
    expect(followed).toBeGreaterThan(10);
    expect(followed).toBeLessThan(23);
  });
});
