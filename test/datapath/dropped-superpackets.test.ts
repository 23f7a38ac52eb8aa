/** A superpacket that is dropped counts as many packets as it stands for: one entry is up to 64 of them, and drops are told in packets. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { GsoType, HEADER, Verdict } from '../../src/datapath/batch.ts';
import { createControlCounters } from '../../src/datapath/control-counters.ts';
import { packetsLeft } from '../../src/datapath/inner-packets.ts';
import { SlotState } from '../../src/datapath/layout.ts';
import { cutOversized } from '../../src/datapath/oversized.ts';
import type { Addon } from '../../src/native/index.ts';
import { parseIpv4 } from '../../src/server/leases.ts';
import { namespaceRefusal, addon as native } from '../io/rig.ts';
import { build, pattern, TCP } from '../packet/packets.ts';
import { backends, nativeBackends } from './backends.ts';
import { CLIENT_INSIDE, NET_ADDRESS, Rig } from './rig.ts';
import { give, laneDatagram, offloaded, receive } from './traffic.ts';
import { addressOf, countersOf, createReferenceWorld, insideOf, Slot, setUp, type World } from './world.ts';

const NOW = 7;
const SEGMENT = 1_000;
const SEGMENTS = 10;

const superpacket = (destination: number, segments = SEGMENTS) =>
  offloaded(build({ ...TCP, destination, payload: pattern(SEGMENT * segments) }), GsoType.tcp4, SEGMENT);

/** Packets of one flow, as they come up in a session. */
const flow = (source: number, destination: number) =>
  Array.from({ length: SEGMENTS }, (_, i) =>
    build({ ...TCP, source, destination, sequence: i * SEGMENT, payload: pattern(SEGMENT) }),
  );

describe.each(backends)('$name', ({ create }) => {
  it('lookup counts the packets of a superpacket, and one where it cannot be cut', () => {
    const world = create();
    setUp(world);
    const uncut = superpacket(insideOf(Slot.lane));
    give(world, [
      superpacket(0x0101_0101),
      superpacket(insideOf(Slot.linkUp), 7),
      superpacket(insideOf(Slot.superseded), 3),
      { ...uncut, checksumStart: 22, kind: GsoType.udp },
    ]);
    world.nodes.lookup(world.fromTun);
    expect(countersOf(world)).toEqual({ noRoute: SEGMENTS, notOnline: 7, superseded: 3, badGso: 1 });
  });

  it('lookup counts an entry for another shard, or for session.control, once: it is no drop', () => {
    const world = create();
    setUp(world);
    world.table.fields.mssClamp.set(Slot.lane, 500);
    give(world, [superpacket(insideOf(Slot.elsewhere)), superpacket(insideOf(Slot.lane))]);
    world.nodes.lookup(world.fromTun);
    expect(countersOf(world)).toEqual({ elsewhere: 1, divert: 1 });
  });

  it('seal counts the packets of a superpacket that it turns away', () => {
    const world = create();
    setUp(world);
    const { nodes, fromTun, sealed, table } = world;
    give(world, [superpacket(insideOf(Slot.lane)), superpacket(insideOf(Slot.records), 6)]);
    table.fields.mssClamp.set(Slot.lane, 0);
    expect(nodes.lookup(fromTun)).toBe(2);
    fromTun.slot[0] = -1;
    table.fields.sendEpoch.set(Slot.records, 6);
    nodes.seal(fromTun, sealed, 64, NOW);
    expect(countersOf(world)).toEqual({ noRoute: SEGMENTS, noKey: 6 });
  });
});

describe.each([backends[0], ...nativeBackends])('an arena whose blocks are too small, $name', ({ create }) => {
  it('seal counts the packets that had no block, and none of those that had one', () => {
    const world = create({ sealedBlock: 2_048 });
    setUp(world);
    const { nodes, fromTun, sealed, table } = world;
    const short = offloaded(build({ ...TCP, destination: insideOf(Slot.lane), payload: pattern(100) }), 0, 0);
    give(world, [short, superpacket(insideOf(Slot.lane))]);
    expect(nodes.lookup(fromTun)).toBe(2);
    nodes.seal(fromTun, sealed, 64, NOW);
    expect(sealed.header[HEADER.count]).toBe(1);
    expect(countersOf(world)).toEqual({ noBlock: SEGMENTS });
    expect(table.fields.packetsSealed.get(Slot.lane)).toBe(1);
  });
});

describe('session.control', () => {
  it('counts the packets of a superpacket whose session is gone', () => {
    const world = createReferenceWorld();
    setUp(world);
    give(world, [superpacket(insideOf(Slot.lane)), superpacket(insideOf(Slot.lane), 1)]);
    world.fromTun.verdict.fill(Verdict.divert, 0, 2);
    const counters = createControlCounters();
    cutOversized(NOW, world.fromTun, new Map(), counters, () => expect.unreachable());
    expect(counters.unknownSlot).toBe(SEGMENTS + 1);
  });
});

describe.each(nativeBackends)('packets that found no room, $name', ({ create }) => {
  const world: World = create();

  it('are those in assembled entries too, without what has been dropped already', () => {
    setUp(world);
    const { nodes, trains, packets, table } = world;
    const come = (first: number) => {
      for (const batch of [trains, packets]) nodes.clear(batch);
      const of = (slot: number) => ({
        address: addressOf(slot),
        datagrams: flow(5, 6).map((packet, i) => laneDatagram(slot, BigInt(first + i), packet)),
      });
      receive(world, [of(Slot.lane), of(Slot.client)]);
      nodes.locate(trains);
      nodes.open(trains, packets, NOW, 'inline');
    };
    come(1);
    come(1 + SEGMENTS); // from the second vector on the addon knows where to expect what
    expect(packets.header[HEADER.count]).toBeLessThan(2 * SEGMENTS);
    expect(packetsLeft(packets)).toBe(2 * SEGMENTS);
    table.fields.state.set(Slot.client, SlotState.closing);
    nodes.admit(packets, NOW);
    expect(packetsLeft(packets)).toBe(SEGMENTS);
    packets.header[HEADER.consumed] = packets.header[HEADER.count];
    expect(packetsLeft(packets)).toBe(0);
  });
});

describe.skipIf(namespaceRefusal() !== undefined)('a pass', () => {
  let rig: Rig | undefined;
  afterEach(() => {
    vi.restoreAllMocks();
    rig?.close();
    rig = undefined;
  });

  it('counts every packet of the superpackets for which no block is free', () => {
    const { createPass } = native;
    const { handle: arena } = native.createArena(65_536, 2);
    const [full, empty] = [native.createBatch(arena, 4), native.createBatch(arena, 256)];
    for (let i = 0; i < 2; i++) native.put(full.handle, 0, 0, undefined, new Uint8Array(60_000));
    vi.spyOn(native, 'createPass').mockImplementation((options: Parameters<Addon['createPass']>[0]) =>
      createPass({ ...options, superpacketsOut: empty.handle }),
    );
    rig = new Rig({ io: 'epoll', shards: 1, aead: native.about().aead[0] });
    const client = rig.connect(2);
    for (let vectors = 1; vectors <= 3; vectors++) {
      client.send(flow(parseIpv4(CLIENT_INSIDE), NET_ADDRESS).map((packet) => client.lane(packet)));
      rig.settle();
      expect(rig.counters().noBlock).toBe(vectors * SEGMENTS);
    }
    expect(rig.inside.receive()).toEqual([]);
  });
});
