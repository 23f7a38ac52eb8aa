/** Datagrams as peers, strangers and liars send them, and superpackets as a TUN device gives them. */
import fc from 'fast-check';
import { Flag, GsoType, HEADER } from '../../src/datapath/batch.ts';
import { build, bytesOf, concat, packets, pattern, TCP, tcps, UDP, udps } from '../packet/packets.ts';
import { dataFrame, header, type RecordForm, sealLane, sealRecord } from './peer.ts';
import { addressOf, idOf, insideOf, laneKey, recordKey, Slot, type World } from './world.ts';

/** Datagrams of one peer that arrived together: cut into trains where their sizes allow. */
export interface Burst {
  readonly address: Uint8Array;
  readonly datagrams: readonly Uint8Array[];
}

/** Appends trains as UDP_GRO gives them: all of one size, only the last may be shorter. */
export function receive(world: World, bursts: readonly Burst[]): void {
  for (const { address, datagrams } of bursts)
    for (const train of trainsOf(datagrams)) {
      const entry = world.trains.header[HEADER.count];
      if (!world.nodes.put(world.trains, -1, 0, address, concat(...train))) throw new Error('trains are full');
      world.trains.segmentSize[entry] = train.length > 1 ? train[0].length : 0;
    }
}

function trainsOf(datagrams: readonly Uint8Array[]): Uint8Array[][] {
  const trains: Uint8Array[][] = [];
  for (const datagram of datagrams) {
    const train = trains.at(-1);
    const fits =
      train && train[0].length === train.at(-1)!.length && datagram.length <= train[0].length && datagram.length > 0;
    if (fits) train.push(datagram);
    else trains.push([datagram]);
  }
  return trains;
}

// ---- one datagram -------------------------------------------------------------------------------------------------------

const slots = fc.constantFrom(...Object.values(Slot));
const versions = fc.constantFrom<[number, number]>([1, 3], [1, 3], [1, 3], [1, 1], [1, 2], [1, 4], [2, 0]);
const id = (slot: number) =>
  fc.oneof(
    { weight: 8, arbitrary: fc.constant(idOf(slot)) },
    { weight: 1, arbitrary: slots.map(idOf) },
    { weight: 1, arbitrary: fc.constantFrom(new Uint8Array(8), new Uint8Array(8).fill(0xff), pattern(8, 3)) },
  );

/** Numbers that repeat, jump over windows and run backwards; and those at a window's very edge, or half a number's range away. */
const laneCounters = fc.oneof(
  { weight: 4, arbitrary: fc.bigInt(0n, 80n) },
  {
    weight: 4,
    arbitrary: fc.tuple(fc.constantFrom(0n, 8192n, 16_384n), fc.bigInt(0n, 3n)).map(([base, by]) => base + by),
  },
  { weight: 1, arbitrary: fc.constantFrom(20_000n, 20_063n, 2n ** 32n, 2n ** 53n + 1n) },
  { weight: 1, arbitrary: fc.constantFrom(2n ** 64n - 1n, 2n ** 64n - 8192n, 2n ** 64n - 8193n) },
);
const recordNumbers = fc.oneof(
  { weight: 4, arbitrary: fc.nat(60) },
  {
    weight: 6,
    arbitrary: fc
      .tuple(
        fc.constantFrom(0, 600),
        fc.constantFrom(0, 127, 128, 129, 511, 512, 513, 32_767, 32_768, 32_769),
        fc.boolean(),
      )
      .map(([base, by, back]) => Math.max(0, base + (back ? -by : by))),
  },
  { weight: 1, arbitrary: fc.constantFrom(40_000, 65_535, 65_536, 70_000) },
);

const lanes = (slot: number, version: readonly [number, number], headerId: Uint8Array) =>
  fc
    .record({
      counter: laneCounters,
      key: fc.constantFrom(
        'receive' as const,
        'receive' as const,
        'receive' as const,
        'previous' as const,
        'send' as const,
      ),
      flags: fc.constantFrom(0, 0, 0, 0, 0x8000, 1),
      version: fc.constantFrom(1 as const, 2 as const),
      honest: fc.boolean(),
      trailing: fc.constantFrom(0, 0, 0, 5),
      packet: packets(300),
    })
    .map(({ counter, key, flags, version: aad, honest, trailing, packet }) => {
      const iv = pattern(12, Number(counter % 251n));
      const right = slot === Slot.lane || slot === Slot.superseded || slot === Slot.client ? 2 : 1;
      const sealed = sealLane({
        id: headerId,
        key: laneKey(slot, key),
        counter,
        iv,
        flags,
        version: honest ? right : aad,
        packet,
      });
      return concat(header(headerId, true, version), sealed, pattern(trailing));
    });

const forms: fc.Arbitrary<RecordForm> = fc.record({
  longNumber: fc.constantFrom(true, true, false),
  withLength: fc.constantFrom(true, true, true, false),
  padding: fc.constantFrom(0, 0, 0, 1, 30),
});

const contents = fc.oneof(
  { weight: 5, arbitrary: packets(300).map((packet) => [23, dataFrame(packet)] as const) },
  { weight: 1, arbitrary: packets(40).map((packet) => [23, concat(dataFrame(packet), Uint8Array.of(1))] as const) },
  { weight: 1, arbitrary: fc.constant([23, bytesOf('u8', 2, 'u16', 0, 'u16', 0)] as const) }, // a Ping
  { weight: 3, arbitrary: fc.constantFrom(20, 21, 22, 24, 26, 0).map((type) => [type, pattern(20, type)] as const) },
  { weight: 1, arbitrary: fc.constantFrom([23, new Uint8Array(0)] as const, [0, new Uint8Array(0)] as const) },
);

const records = (slot: number) =>
  fc
    .tuple(
      fc.constantFrom(3, 4, 5, 5, 5),
      recordNumbers,
      contents,
      forms,
      fc.constantFrom(false, false, false, false, true),
    )
    .map(([epoch, number, [type, content], form, foreign]) =>
      sealRecord(recordKey(slot, foreign ? 'send' : 'receive', epoch), number, type, content, form),
    );

const handshakeRecord = fc.constantFrom(
  bytesOf('u8', 22, 'u16', 0xfefd, 'u16', 0, 'u48', 1, 'u16', 4, 'u32', 0x01000000),
  bytesOf('u8', 22, 'u16', 0xfefd, 'u16', 0, 'u48', 1, 'u16', 4, 'u32', 0x02000000), // a ServerHello
  bytesOf('u8', 21, 'u16', 0xfefd, 'u16', 0, 'u48', 1, 'u16', 2, 'u16', 0x0100),
  bytesOf('u8', 22, 'u16', 0xfefd, 'u16', 0, 'u48', 1, 'u16', 400, 'u32', 0x02000000), // says that it is longer
  concat(Uint8Array.of(0x2e), pattern(40)), // epoch 2
  concat(bytesOf('u8', 0x2e, 'u16', 1, 'u16', 20), pattern(20)), // with a length
);

const dtls = (slot: number, version: readonly [number, number], headerId: Uint8Array) =>
  fc
    .array(
      fc.oneof(
        { weight: 12, arbitrary: records(slot) },
        { weight: 1, arbitrary: handshakeRecord },
        { weight: 1, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 30 }) },
      ),
      { minLength: 1, maxLength: 4 },
    )
    .map((all) => concat(header(headerId, false, version), ...all));

/** A datagram to `slot`, honest more often than not. */
export const datagramsTo = (slot: number): fc.Arbitrary<Uint8Array> =>
  fc.tuple(versions, id(slot)).chain(([drawn, headerId]) => {
    const version = slot === Slot.oldLane && drawn[1] === 3 ? ([1, 1] as const) : drawn;
    const honest = fc.oneof(lanes(slot, version, headerId), dtls(slot, version, headerId));
    return fc.oneof(
      { weight: 8, arbitrary: honest },
      { weight: 1, arbitrary: fc.tuple(honest, fc.nat(), fc.integer({ min: 1, max: 255 })).map(flip) },
      {
        weight: 1,
        arbitrary: fc.tuple(honest, fc.nat()).map(([bytes, to]) => bytes.slice(0, to % bytes.length)),
      },
      { weight: 1, arbitrary: fc.uint8Array({ maxLength: 100 }) },
      { weight: 1, arbitrary: fc.constant(header(headerId, false, version)) },
    );
  });

function flip([bytes, at, by]: [Uint8Array, number, number]): Uint8Array {
  bytes[at % bytes.length] ^= by;
  return bytes;
}

/** Bursts to sessions of every kind, from their own addresses or from new ones. */
export const bursts = (maxBursts = 8): fc.Arbitrary<Burst[]> => {
  const burst = slots.chain((slot) =>
    fc.record({
      address: fc.constantFrom(addressOf(slot), addressOf(slot), addressOf(slot), addressOf(slot + 50)),
      datagrams: fc.array(datagramsTo(slot), { minLength: 1, maxLength: 6 }),
    }),
  );
  return fc.array(burst, { minLength: 1, maxLength: maxBursts });
};

/**
 * Trains as a working client sends them: consecutive Expresslane packets of TCP and UDP flows, a few of them swapped or twice. What
 * coalescing is for.
 */
export const flowBursts: fc.Arbitrary<Burst[]> = fc
  .record({
    segments: fc.integer({ min: 2, max: 40 }),
    size: fc.constantFrom(1, 64, 536, 1298),
    flows: fc.integer({ min: 1, max: 20 }),
    last: fc.nat(64),
    swaps: fc.array(fc.nat(40), { maxLength: 4 }),
    udp: fc.boolean(),
    fragment: fc.constantFrom(0, 0x4000),
    push: fc.nat(40),
  })
  .map(({ segments, size, flows, last, swaps, udp, fragment, push }) => {
    const inner = Array.from({ length: segments }, (_, i) => {
      const turn = Math.floor(i / flows);
      const payload = pattern(i === segments - 1 ? Math.min(last, size) : size, i);
      const ports = [40_000 + (i % flows), 443] as const;
      if (udp) return build({ ...UDP, ports, payload, fragment, id: turn });
      return build({
        ...TCP,
        ports,
        payload,
        fragment,
        id: turn,
        sequence: turn * size,
        flags: i === push ? 0x18 : 0x10,
      });
    });
    const sealed = inner.map((packet, i) => laneDatagram(Slot.lane, BigInt(i + 1), packet));
    for (const at of swaps) if (at + 1 < sealed.length) sealed.splice(at, 2, sealed[at + 1], sealed[at]);
    return [{ address: addressOf(Slot.lane), datagrams: sealed }];
  });

const TINY = build(UDP);
const near = (bases: readonly number[], spans: readonly number[]) =>
  fc
    .tuple(fc.constantFrom(...bases), fc.constantFrom(...spans), fc.constantFrom(-1, 0, 1))
    .map(([base, span, by]) => Math.max(0, base + span + by));
const laneEdges = near([1, 8192, 16_384], [0, 0, 1]).map((counter) => laneDatagram(Slot.lane, BigInt(counter), TINY));
const recordEdges = fc
  .tuple(near([600, 33_368], [0, 0, -512, 512, -128, 128, 32_768, -32_768]), fc.boolean())
  .map(([number, longNumber]) => {
    const form = { longNumber, withLength: true, padding: 0 };
    return concat(
      header(idOf(Slot.records), false),
      sealRecord(recordKey(Slot.records, 'receive', 5), number, 26, TINY, form),
    );
  });

/** Honest datagrams of one session whose numbers lie at the edges of its window, and half a number's range from the expected one. */
export const edgeBursts: fc.Arbitrary<Burst[]> = fc
  .tuple(fc.array(laneEdges, { minLength: 2, maxLength: 12 }), fc.array(recordEdges, { minLength: 2, maxLength: 12 }))
  .map(([lane, record]) => [
    { address: addressOf(Slot.lane), datagrams: lane },
    { address: addressOf(Slot.records), datagrams: record },
  ]);

/** What a client of `slot` (Expresslane version 2) sends. */
export function laneDatagram(
  slot: number,
  counter: bigint,
  packet: Uint8Array,
  key = laneKey(slot, 'receive'),
): Uint8Array {
  const iv = pattern(12, Number(counter % 251n));
  const id = idOf(slot);
  return concat(header(id, true), sealLane({ id, key, counter, iv, flags: 0, version: 2, packet }));
}

// ---- superpackets ---------------------------------------------------------------------------------------------------------

export interface Superpacket {
  readonly bytes: Uint8Array;
  readonly kind: number;
  readonly segmentSize: number;
  readonly flags: number;
  readonly checksumStart: number;
  readonly checksumOffset: number;
}

/** Appends entries as the TUN device gives them. */
export function give(world: World, superpackets: readonly Superpacket[]): void {
  const batch = world.fromTun;
  for (const { bytes, kind, segmentSize, flags, checksumStart, checksumOffset } of superpackets) {
    const entry = batch.header[HEADER.count];
    if (!world.nodes.put(batch, -1, kind, undefined, bytes)) throw new Error('superpackets are full');
    batch.segmentSize[entry] = segmentSize;
    batch.flags[entry] = flags;
    batch.checksumStart[entry] = checksumStart;
    batch.checksumOffset[entry] = checksumOffset;
  }
}

const destinations = fc.oneof(
  { weight: 9, arbitrary: slots.map(insideOf) },
  { weight: 1, arbitrary: fc.constant(0x0101_0101) },
);

/** A packet whose checksum the kernel left to us, with the pseudo-header sum in its place. */
export function offloaded(packet: Uint8Array, kind: number, segmentSize: number): Superpacket {
  const bytes = packet.slice();
  const tcp = bytes[9] === 6;
  const start = (bytes[0] & 15) * 4;
  const at = start + (tcp ? 16 : 6);
  let sum = bytes[9] + bytes.length - start;
  for (let i = 12; i < 20; i += 2) sum += bytes[i] * 256 + bytes[i + 1];
  bytes.set(bytesOf('u16', (sum % 65_536) + Math.floor(sum / 65_536)), at);
  return { bytes, kind, segmentSize, flags: Flag.needsChecksum, checksumStart: start, checksumOffset: tcp ? 16 : 6 };
}

const whole = (bytes: Uint8Array): Superpacket => ({
  bytes,
  kind: 0,
  segmentSize: 0,
  flags: 0,
  checksumStart: 0,
  checksumOffset: 0,
});

export const superpackets: fc.Arbitrary<Superpacket> = destinations.chain((destination) => {
  const large = fc.tuple(
    fc.integer({ min: 1, max: 60_000 }),
    fc.constantFrom(100, 203, 204, 536, 1298, 1400),
    fc.nat(9),
  );
  const tcp = large.map(([length, size, seed]) =>
    offloaded(
      build({ ...TCP, destination, payload: pattern(length, seed), flags: 0x18, tos: seed & 3 }),
      GsoType.tcp4,
      size,
    ),
  );
  const udp = large.map(([length, size, seed]) =>
    offloaded(build({ ...UDP, destination, payload: pattern(length, seed) }), GsoType.udp, size),
  );
  const single = fc.oneof(tcps(1300), udps(1300)).map((packet) => build({ ...packet, destination }));
  const noise = fc.record({
    bytes: fc.oneof(packets(200), single),
    kind: fc.constantFrom(0, 1, 4, 5, 3),
    segmentSize: fc.constantFrom(0, 1, 100, 1298),
    flags: fc.constantFrom(0, Flag.needsChecksum),
    checksumStart: fc.constantFrom(0, 20, 24, 40, 1000),
    checksumOffset: fc.constantFrom(0, 6, 16, 2000),
  });
  const syn = fc
    .tuple(fc.nat(3), fc.constantFrom(536, 1199, 1200, 1201, 1298, 1299, 9000), fc.boolean())
    .map(([before, mss, partial]) => {
      const options = concat(
        new Uint8Array(before).fill(1),
        bytesOf('u8', 2, 'u8', 4, 'u16', mss),
        new Uint8Array((4 - before) & 3),
      );
      const packet = build({ ...TCP, flags: 2, options, destination: insideOf(before & 1 ? Slot.lane : Slot.records) });
      return partial ? offloaded(packet, 0, 0) : whole(packet);
    });
  return fc.oneof(
    { weight: 2, arbitrary: syn },
    { weight: 2, arbitrary: tcp },
    { weight: 2, arbitrary: udp },
    { weight: 3, arbitrary: single.map(whole) },
    { weight: 2, arbitrary: single.filter(isWhole).map((packet) => offloaded(packet, 0, 0)) },
    { weight: 2, arbitrary: noise },
    { weight: 1, arbitrary: packets(600).map(whole) },
  );
});

/** Not a later fragment, whose transport header is not its own. */
function isWhole(packet: Uint8Array): boolean {
  return (((packet[6] << 8) | packet[7]) & 0x1fff) === 0;
}
