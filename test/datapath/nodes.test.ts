import { describe, expect, it } from 'vitest';
import { Flag, HEADER, Kind, Verdict } from '../../src/datapath/batch.ts';
import { SlotFlag, SlotState } from '../../src/datapath/layout.ts';
import { build, bytesOf, concat, ipv4, pattern, TCP, UDP } from '../packet/packets.ts';
import { backends } from './backends.ts';
import { dataFrame, header, openAead, openRecord, SUITES, sealRecord } from './peer.ts';
import { give, laneDatagram, offloaded, receive } from './traffic.ts';
import {
  addressOf,
  bytesAt,
  countersOf,
  entriesOf,
  idOf,
  insideOf,
  laneKey,
  laneSalt,
  recordKey,
  Slot,
  setUp,
  type World,
} from './world.ts';

const NOW = 5_000_000.5;

/** Protocol specification §6.10: what follows the header of a datagram with id a1…, sealed under 5a… */
const GOLDEN_PLAIN = Buffer.from('expresslane golden vector payload');
const GOLDEN = {
  v1: '00000000000000012b2b2b2b2b2b2b2b2b2b2b2bf8cf6559479de62e9b6bf8cda32be127002100001de0df19db6aa733e1f77938999b312f5310ecc610332f6a94234f38a17987cac8',
  v2: '00000000000000012b2b2b2b2b2b2b2b2b2b2b2b2d5ee0b75c9d1319e0aed5f386808b97002100001de0df19db6aa733e1f77938999b312f5310ecc610332f6a94234f38a17987cac8',
};

describe.each(backends)('$name', ({ create }) => {
  const world = create();
  const fresh = (): World => {
    setUp(world);
    return world;
  };
  const openAll = () => {
    world.nodes.locate(world.trains);
    return world.nodes.open(world.trains, world.packets, NOW);
  };

  it.each(['v1', 'v2'] as const)('opens the golden Expresslane vector of the specification, %s', (version) => {
    const { table, secrets, nodes, trains, packets } = fresh();
    const slot = version === 'v2' ? Slot.lane : Slot.oldLane;
    secrets.installLane(slot, 'laneReceive', new Uint8Array(32).fill(0x5a), new Uint8Array(4));
    world.claim(slot);
    const id = new Uint8Array(8).fill(0xa1);
    const datagram = concat(header(id, true, [1, version === 'v2' ? 3 : 1]), Buffer.from(GOLDEN[version], 'hex'));
    receive(world, [{ address: addressOf(slot), datagrams: [datagram] }]);
    expect([nodes.locate(trains), nodes.open(trains, packets, NOW)]).toEqual([1, 0]);
    expect(Buffer.from(bytesAt(packets, 0))).toEqual(GOLDEN_PLAIN);
    expect(packets.flags[0]).toBe(Flag.expresslane | Flag.newId);
    expect([packets.counter[0], packets.slot[0], packets.kind[0]]).toEqual([1n, slot, Kind.application]);
    expect([table.fields.laneHighest.get(slot), table.fields.laneReceived.get(slot)]).toEqual([1, 1]);
    expect(table.fields.lastOutside.get(slot)).toBe(NOW);
  });

  it('gives a peer its session by address, a roaming one by id, a stranger to control, and a ghost a reject', () => {
    const { nodes, trains } = fresh();
    const packet = build(TCP);
    const to = (slot: number, id: Uint8Array, address: number) => ({
      address: addressOf(address),
      datagrams: [concat(header(id, false), packet, pattern(slot))],
    });
    receive(world, [
      to(0, new Uint8Array(8), Slot.records), // a known address: nobody's id does not matter
      to(1, idOf(Slot.lane), 70),
      to(2, new Uint8Array(8), 71),
      to(3, pattern(8), 72),
      to(4, idOf(Slot.elsewhere), 73),
      to(5, new Uint8Array(8).fill(0xff), 74),
    ]);
    expect(nodes.locate(trains)).toBe(2);
    expect(entriesOf(trains).entries.map(({ verdict, slot, flags }) => [verdict, slot, flags])).toEqual([
      ['pass', Slot.records, 0],
      ['pass', Slot.lane, Flag.floating],
      ['divert', -1, 0],
      ['reject', -1, 0],
      ['elsewhere', Slot.elsewhere, Flag.floating],
      ['rejectedId', -1, 0],
    ]);
    expect(countersOf(world)).toEqual({ divert: 1, reject: 1, elsewhere: 1, rejectedId: 1 });
  });

  it('believes the id of another living session before a known address: NATs swap mappings', () => {
    const { nodes, table, trains } = fresh();
    const from = (address: number, id: Uint8Array, length = 60) => ({
      address: addressOf(address),
      datagrams: [concat(header(id, false), pattern(60)).slice(0, length)],
    });
    table.fields.pendingId.set(Slot.oldLane, idOf(80));
    world.index.set('id', idOf(80), Slot.oldLane);
    table.fields.state.set(Slot.linkUp, SlotState.free);
    receive(world, [
      from(Slot.records, idOf(Slot.lane)),
      from(Slot.lane, idOf(Slot.records)),
      from(Slot.records, idOf(Slot.elsewhere)),
      from(Slot.oldLane, idOf(80)), // an id of its own that is not the current one
      from(Slot.lane, idOf(Slot.linkUp)), // of a session that has ended
      from(Slot.lane, pattern(8)),
      from(Slot.lane, idOf(Slot.records), 15),
    ]);
    expect(nodes.locate(trains)).toBe(6);
    expect(entriesOf(trains).entries.map(({ verdict, slot, flags }) => [verdict, slot, flags])).toEqual([
      ['pass', Slot.lane, Flag.floating],
      ['pass', Slot.records, Flag.floating],
      ['elsewhere', Slot.elsewhere, Flag.floating],
      ['pass', Slot.oldLane, 0],
      ['pass', Slot.lane, 0],
      ['pass', Slot.lane, 0],
      ['pass', Slot.lane, 0],
    ]);
  });

  it('counts datagrams, not trains, of what locate turns away', () => {
    fresh();
    const datagram = concat(header(pattern(8), false), pattern(20));
    receive(world, [{ address: addressOf(80), datagrams: [datagram, datagram, datagram.slice(0, 17)] }]);
    world.nodes.locate(world.trains);
    expect([world.trains.header[HEADER.count], countersOf(world)]).toEqual([1, { reject: 3 }]);
  });

  it('opens several records of a datagram, and hands on all that is not one Data frame', () => {
    const { packets } = fresh();
    const keys = recordKey(Slot.records, 'receive', 5);
    const packet = build({ ...UDP, payload: pattern(50) });
    const ping = bytesOf('u8', 2, 'u16', 0, 'u16', 0);
    const all = [
      sealRecord(keys, 0, Kind.application, dataFrame(packet)),
      sealRecord(keys, 1, Kind.application, ping),
      sealRecord(keys, 2, Kind.alert, Uint8Array.of(1, 0), { longNumber: false, withLength: true, padding: 7 }),
      sealRecord(keys, 3, Kind.application, dataFrame(packet), { longNumber: true, withLength: false, padding: 0 }),
    ];
    receive(world, [
      { address: addressOf(Slot.records), datagrams: [concat(header(idOf(Slot.records), false), ...all)] },
    ]);
    expect(openAll()).toBe(2);
    expect(
      entriesOf(packets).entries.map(({ verdict, kind, epoch, counter, bytes }) => [
        verdict,
        kind,
        epoch,
        counter,
        bytes,
      ]),
    ).toEqual([
      ['pass', Kind.application, 5, 0n, Buffer.from(packet).toString('hex')],
      ['divert', Kind.application, 5, 1n, '0200000000'],
      ['divert', Kind.alert, 5, 2n, '0100'],
      ['pass', Kind.application, 5, 3n, Buffer.from(packet).toString('hex')],
    ]);
    expect(countersOf(world)).toEqual({ divert: 2 });
  });

  it('opens an old epoch beside the new one, each with a window of its own', () => {
    const { table } = fresh();
    const record = (epoch: number, number: number) =>
      concat(
        header(idOf(Slot.lane), false),
        sealRecord(recordKey(Slot.lane, 'receive', epoch), number, 26, pattern(9)),
      );
    const datagrams = [record(5, 40), record(4, 9), record(3, 40), record(5, 39), record(4, 9)];
    receive(world, [{ address: addressOf(Slot.lane), datagrams }]);
    openAll();
    expect(entriesOf(world.packets).entries.map(({ epoch, counter }) => [epoch, counter])).toEqual([
      [5, 40n],
      [4, 9n],
      [3, 40n],
      [5, 39n],
    ]);
    expect(countersOf(world)).toEqual({ divert: 4, replayed: 1 });
    expect([3, 4, 5].map((epoch) => table.fields.recordNext.get(Slot.lane, epoch & 3))).toEqual([41, 10, 41]);
  });

  it('leaves the header readable in front of what it diverts raw', () => {
    fresh();
    const datagram = concat(header(new Uint8Array(8), false), bytesOf('u8', 22), pattern(60));
    receive(world, [{ address: addressOf(90), datagrams: [datagram] }]);
    expect(openAll()).toBe(1);
    expect(entriesOf(world.packets, 16).entries[0]).toMatchObject({
      verdict: 'divert',
      kind: Kind.raw,
      slot: -1,
      length: 61,
      bytes: Buffer.from(datagram).toString('hex'),
    });
    expect(countersOf(world)).toEqual({ divert: 1 }); // by locate, and once
  });

  it('stops when the packets are full and goes on where it stopped', () => {
    const small = create({ capacity: 32 });
    setUp(small);
    const datagrams = Array.from({ length: 40 }, (_, i) =>
      laneDatagram(Slot.lane, BigInt(i + 1), build({ ...TCP, id: i })),
    );
    receive(small, [{ address: addressOf(Slot.lane), datagrams }]);
    small.nodes.locate(small.trains);
    small.nodes.open(small.trains, small.packets, NOW);
    expect([small.packets.header[HEADER.count], small.trains.header[HEADER.consumed]]).toEqual([32, 0]);
    small.nodes.clear(small.packets);
    small.nodes.open(small.trains, small.packets, NOW);
    expect([small.packets.header[HEADER.count], small.trains.header[HEADER.consumed]]).toEqual([8, 1]);
    expect(small.packets.counter[0]).toBe(33n);
    expect(countersOf(small)).toEqual({});
  });

  it('admits whole IPv4 packets under the leased source, proved or unproved', () => {
    const { nodes, packets } = fresh();
    const wrong = build(TCP);
    wrong[36] ^= 1;
    const inner = [
      build({ ...UDP, payload: pattern(30) }),
      wrong,
      ipv4(UDP, 1, pattern(12)),
      concat(build(TCP), pattern(3)),
      pattern(30),
    ];
    const datagrams = inner.map((packet, i) => laneDatagram(Slot.lane, BigInt(i + 1), packet));
    receive(world, [{ address: addressOf(Slot.lane), datagrams }]);
    openAll();
    expect(nodes.admit(packets, NOW)).toBe(4);
    const lease = bytesOf('u32', insideOf(Slot.lane));
    for (let i = 0; i < 4; i++) expect(bytesAt(packets, i).subarray(12, 16)).toEqual(lease);
    expect([...packets.flags.subarray(0, 4)].map((flags) => flags & Flag.checksumValid)).toEqual([2, 0, 0, 2]);
    expect([...packets.length.subarray(0, 4)]).toEqual(
      inner.slice(0, 4).map((packet, i) => packet.length - (i === 3 ? 3 : 0)),
    );
    expect(packets.verdict[4]).toBe(Verdict.notIpv4);
    expect(build({ ...UDP, payload: pattern(30), source: insideOf(Slot.lane) })).toEqual(bytesAt(packets, 0));
  });

  it('joins the segments of a flow, swapped on the way, into the superpacket they were', () => {
    const { nodes, packets, toTun } = fresh();
    const payload = pattern(10 * 1298 + 500);
    const segments = Array.from({ length: 11 }, (_, i) =>
      build({
        ...TCP,
        payload: payload.slice(i * 1298, (i + 1) * 1298),
        sequence: i * 1298,
        id: i,
        flags: i === 10 ? 0x18 : 0x10,
      }),
    );
    const datagrams = segments.map((segment, i) => laneDatagram(Slot.lane, BigInt(i + 1), segment));
    receive(world, [{ address: addressOf(Slot.lane), datagrams: [datagrams[1], datagrams[0], ...datagrams.slice(2)] }]);
    openAll();
    nodes.admit(packets, NOW);
    expect(nodes.coalesce(packets, toTun, 'inline')).toBe(1);
    const whole = build({ ...TCP, payload, sequence: 0, id: 0, flags: 0x18, source: insideOf(Slot.lane) });
    expect(entriesOf(toTun).entries[0]).toMatchObject({
      kind: 1,
      segmentSize: 1298,
      headerLength: 40,
      checksumStart: 20,
      checksumOffset: 16,
      flags: Flag.needsChecksum | Flag.checksumValid,
      bytes: Buffer.from(offloaded(whole, 1, 1298).bytes).toString('hex'),
    });
  });

  it('off joins nothing, and tcp joins no UDP', () => {
    for (const [mode, entries] of [
      ['inline', 2],
      ['tcp', 4],
      ['off', 6],
    ] as const) {
      const { nodes, packets, toTun } = fresh();
      const inner = [0, 1, 2].flatMap((i) => [
        build({ ...TCP, payload: pattern(100, i), sequence: i * 100, id: i }),
        build({ ...UDP, payload: pattern(100, i), id: i }),
      ]);
      receive(world, [
        {
          address: addressOf(Slot.lane),
          datagrams: inner.map((packet, i) => laneDatagram(Slot.lane, BigInt(i + 1), packet)),
        },
      ]);
      openAll();
      nodes.admit(packets, NOW);
      expect(nodes.coalesce(packets, toTun, mode), mode).toBe(entries);
    }
  });

  it('seals a 64 KB superpacket into two trains that the peer opens, numbers counting on from the claim', () => {
    const { nodes, fromTun, sealed, table } = fresh();
    const payload = pattern(50 * 1298);
    give(world, [offloaded(build({ ...TCP, destination: insideOf(Slot.lane), payload, id: 7 }), 1, 1298)]);
    expect([nodes.lookup(fromTun), nodes.seal(fromTun, sealed, 64, NOW)]).toEqual([1, 1]);
    expect([...sealed.segmentSize.subarray(0, 2)]).toEqual([1394, 1394]);
    expect([...sealed.length.subarray(0, 2)]).toEqual([46 * 1394, 4 * 1394]);
    expect([...sealed.counter.subarray(0, 2)]).toEqual([1n, 47n]);
    expect(table.fields.laneSendCounter.get(Slot.lane)).toBe(50);
    const datagrams = Buffer.concat([bytesAt(sealed, 0), bytesAt(sealed, 1)]);
    for (let i = 0; i < 50; i++) {
      const datagram = datagrams.subarray(i * 1394, (i + 1) * 1394);
      expect(datagram.subarray(0, 16)).toEqual(Buffer.from(header(idOf(Slot.lane), true)));
      const counter = bytesOf('u64', i + 1);
      expect(datagram.subarray(16, 36)).toEqual(Buffer.concat([counter, laneSalt(Slot.lane), counter]));
      const aad = concat(idOf(Slot.lane), counter, bytesOf('u16', 0));
      const text = concat(datagram.subarray(56), datagram.subarray(36, 52));
      const expected = {
        ...TCP,
        destination: 0xc0a8_fe0a,
        payload: payload.slice(i * 1298, (i + 1) * 1298),
        id: 7 + i,
      };
      const plain = openAead(SUITES.aes256, laneKey(Slot.lane, 'send'), datagram.subarray(24, 36), aad, text);
      expect(plain).toEqual(build({ ...expected, sequence: (TCP.sequence + i * 1298) >>> 0 }));
    }
  });

  it('seals DTLS records that the peer opens, across the 16 bits of their numbers', () => {
    const { nodes, fromTun, sealed } = fresh();
    const packet = build({ ...UDP, destination: insideOf(Slot.records), payload: pattern(40) });
    give(
      world,
      [0, 1, 2, 3].map(() => ({
        bytes: packet,
        kind: 0,
        segmentSize: 0,
        flags: 0,
        checksumStart: 0,
        checksumOffset: 0,
      })),
    );
    nodes.lookup(fromTun);
    expect(nodes.seal(fromTun, sealed, 64, NOW)).toBe(4);
    expect([sealed.header[HEADER.count], sealed.segmentSize[0], sealed.epoch[0], sealed.counter[0]]).toEqual([
      1,
      16 + 22 + 3 + 68,
      5,
      65_534n,
    ]);
    const first = bytesAt(sealed, 0).subarray(16, 109);
    const keys = recordKey(Slot.records, 'send', 5);
    expect(openRecord(keys, first)).toEqual({ number: 65_534, contentType: 23, content: dataFrame(packet) });
  });

  it('puts plain Data frames side by side for a TCP session, and one datagram a train where UDP_SEGMENT is off', () => {
    const { nodes, fromTun, sealed } = fresh();
    const to = (slot: number) =>
      offloaded(build({ ...UDP, destination: insideOf(slot), payload: pattern(300) }), 5, 100);
    give(world, [to(Slot.stream), to(Slot.oldLane), to(Slot.stream)]);
    nodes.lookup(fromTun);
    expect(nodes.seal(fromTun, sealed, 64, NOW)).toBe(3);
    const shape = entriesOf(sealed).entries.map(({ slot, kind, segmentSize, length }) => [
      slot,
      kind,
      segmentSize,
      length,
    ]);
    expect(shape).toEqual([
      [Slot.stream, 1, 0, 6 * 131],
      ...Array.from({ length: 3 }, () => [Slot.oldLane, 0, 0, 56 + 128]),
    ]);
    expect(bytesAt(sealed, 0).subarray(0, 4)).toEqual(Uint8Array.of(5, 0, 128, 0x45));
  });

  it('clamps the MSS of a SYN, and answers for what cannot be routed', () => {
    const { nodes, fromTun } = fresh();
    const syn = build({
      ...TCP,
      flags: 2,
      destination: insideOf(Slot.lane),
      options: bytesOf('u8', 2, 'u8', 4, 'u16', 1460),
    });
    const plain = (bytes: Uint8Array) => ({
      bytes,
      kind: 0,
      segmentSize: 0,
      flags: 0,
      checksumStart: 0,
      checksumOffset: 0,
    });
    const others = [1, insideOf(Slot.elsewhere), insideOf(Slot.superseded), insideOf(Slot.linkUp)];
    give(world, [
      plain(syn),
      ...others.map((destination) => plain(build({ ...TCP, destination }))),
      plain(pattern(20)),
      plain(pattern(9)),
    ]);
    expect(nodes.lookup(fromTun)).toBe(1);
    expect(countersOf(world)).toEqual({
      noRoute: 1,
      elsewhere: 1,
      superseded: 1,
      notOnline: 1,
      notIpv4: 1,
      malformed: 1,
    });
    const clamped = { ...TCP, flags: 2, destination: 0xc0a8_fe0a, options: bytesOf('u8', 2, 'u8', 4, 'u16', 1298) };
    expect(bytesAt(fromTun, 0)).toEqual(build(clamped));
  });

  it.each([
    ['a packet', 0, 0],
    ['a superpacket', 5, 1310],
  ])('diverts %s that is longer than the path carries, and passes one that just fits', (_, kind, segmentSize) => {
    const { nodes, fromTun, table } = fresh();
    const longest = kind === 0 ? 1338 : 28 + segmentSize;
    const bytes = build({
      ...UDP,
      destination: insideOf(Slot.lane),
      payload: pattern(kind === 0 ? longest - 28 : 9_000),
    });
    for (const [limit, verdict] of [
      [longest, Verdict.pass],
      [longest - 1, Verdict.divert],
      [0, Verdict.pass],
    ]) {
      table.fields.mssClamp.set(Slot.lane, Math.max(0, limit - 40));
      nodes.clear(fromTun);
      give(world, [offloaded(bytes, kind, segmentSize)]);
      nodes.lookup(fromTun);
      expect(fromTun.verdict[0]).toBe(verdict);
    }
  });

  it('never claims a number twice over many calls, and none for a slot of another engine', () => {
    const { nodes, fromTun, sealed, table } = fresh();
    const seen = new Set<bigint>();
    for (let turn = 0; turn < 5; turn++) {
      nodes.clear(fromTun);
      nodes.clear(sealed);
      give(world, [offloaded(build({ ...UDP, destination: insideOf(Slot.lane), payload: pattern(1000) }), 5, 100)]);
      nodes.lookup(fromTun);
      nodes.seal(fromTun, sealed, 4, NOW);
      for (let i = 0; i < sealed.header[HEADER.count]; i++) {
        const datagrams = Math.ceil(sealed.length[i] / (sealed.segmentSize[i] || sealed.length[i]));
        for (let n = 0; n < datagrams; n++) seen.add(sealed.counter[i] + BigInt(n));
      }
    }
    expect([seen.size, table.fields.laneSendCounter.get(Slot.lane)]).toEqual([50, 50]);
    table.fields.generation.set(Slot.lane, 99);
    nodes.clear(fromTun);
    give(world, [offloaded(build({ ...UDP, destination: insideOf(Slot.lane), payload: pattern(10) }), 0, 0)]);
    nodes.lookup(fromTun);
    expect([fromTun.verdict[0], table.fields.laneSendCounter.get(Slot.lane)]).toEqual([Verdict.superseded, 50]);
  });

  it('translates as a client does: its DNS address both ways', () => {
    const { nodes, trains, packets, fromTun } = fresh();
    const answer = build({ ...UDP, source: 0xc000_0201, destination: 5 });
    receive(world, [{ address: addressOf(Slot.client), datagrams: [laneDatagram(Slot.client, 1n, answer)] }]);
    nodes.locate(trains);
    nodes.open(trains, packets, NOW);
    nodes.admit(packets, NOW);
    expect(bytesAt(packets, 0)).toEqual(build({ ...UDP, source: 0x6440_0002, destination: 0x6440_0001 }));
    const single = create({ single: Slot.client });
    setUp(single);
    single.table.fields.flags.set(Slot.client, SlotFlag.client);
    give(single, [
      {
        bytes: build({ ...UDP, destination: 0x0a00_0003 }),
        kind: 0,
        segmentSize: 0,
        flags: 0,
        checksumStart: 0,
        checksumOffset: 0,
      },
    ]);
    expect(single.nodes.lookup(single.fromTun)).toBe(1);
    expect(bytesAt(single.fromTun, 0)).toEqual(build({ ...UDP, source: 0xc0a8_fe0a, destination: 0xc000_0201 }));
    expect(fromTun.header[HEADER.count]).toBe(0);
  });
});
