/** Short packets are sealed and opened several at a time: every length there is, among neighbours of other lengths and broken ones. */
import { describe, expect, it } from 'vitest';
import { HEADER } from '../../src/datapath/batch.ts';
import { SlotFlag } from '../../src/datapath/layout.ts';
import { build, concat, pattern, UDP } from '../packet/packets.ts';
import { backends } from './backends.ts';
import { dataFrame, header, openAead, openRecord, type RecordForm, SUITES, sealRecord, WHOLE } from './peer.ts';
import { give, laneDatagram, receive } from './traffic.ts';
import { addressOf, bytesAt, countersOf, idOf, insideOf, laneKey, recordKey, Slot, setUp } from './world.ts';

const NOW = 99;
const LONGEST = 240; // beyond what is opened in groups
const AT_ONCE = 29; // no multiple of a group
/** 001C SLEE with a number of one byte and no length: two bytes of additional data. */
const BARE: RecordForm = { longNumber: false, withLength: false, padding: 0 };

const record = (slot: number, version: [number, number], form: RecordForm) => (number: number, packet: Uint8Array) =>
  concat(
    header(idOf(slot), false, version),
    sealRecord(recordKey(slot, 'receive', 5), number, 23, dataFrame(packet), form),
  );

const FORMS = [
  {
    name: 'Expresslane',
    slot: Slot.lane,
    seal: (n: number, packet: Uint8Array) => laneDatagram(Slot.lane, BigInt(n + 1), packet),
  },
  { name: 'AES-256 records', slot: Slot.lane, seal: record(Slot.lane, [1, 3], WHOLE) },
  { name: 'AES-256 records, bare header', slot: Slot.lane, seal: record(Slot.lane, [1, 3], BARE) },
  { name: 'AES-128 records', slot: Slot.oldLane, seal: record(Slot.oldLane, [1, 1], WHOLE) },
  { name: 'ChaCha20 records', slot: Slot.records, seal: record(Slot.records, [1, 3], WHOLE) },
] as const;

describe.each(backends)('$name', ({ create }) => {
  const world = create();

  it.each(FORMS)(
    'opens $name of 20 to 240 bytes, and refuses those among them with one bit changed',
    ({ slot, seal }) => {
      setUp(world);
      const { nodes, trains, packets } = world;
      let forged = 0;
      for (let first = 20, number = 0; first <= LONGEST; first += AT_ONCE) {
        const lengths = Array.from(
          { length: Math.min(AT_ONCE, LONGEST + 1 - first) },
          (_, i) => first + ((i * 11) % AT_ONCE),
        );
        const sent = lengths.map((length) => ({ packet: pattern(length, length), number: number++ }));
        const broken = (i: number) => (i + first) % 5 === 0;
        const datagrams = sent.map(({ packet, number: n }, i) => {
          const datagram = seal(n, packet);
          if (broken(i)) datagram[datagram.length - 1 - (i % 16)] ^= 1 << (i % 8);
          return datagram;
        });
        nodes.clear(trains);
        nodes.clear(packets);
        receive(world, [{ address: addressOf(slot), datagrams }]);
        nodes.locate(trains);
        nodes.open(trains, packets, NOW);
        const opened = Array.from({ length: packets.header[HEADER.count] }, (_, i) => Buffer.from(bytesAt(packets, i)));
        expect(opened).toEqual(sent.filter((_, i) => !broken(i)).map(({ packet }) => Buffer.from(packet)));
        forged += sent.filter((_, i) => broken(i)).length;
      }
      expect(countersOf(world)).toEqual({ forged });
    },
  );

  it.each([
    [Slot.lane, 'Expresslane'],
    [Slot.oldLane, 'Expresslane'],
    [Slot.client, 'Expresslane'],
    [Slot.lane, 'records'],
    [Slot.oldLane, 'records'],
  ] as const)('seals what the peer of session %i opens, as %s', (slot, transport) => {
    setUp(world);
    const { nodes, fromTun, sealed, table } = world;
    const overLane = transport === 'Expresslane';
    const { flags } = table.fields;
    flags.set(slot, overLane ? flags.get(slot) | SlotFlag.expresslane : flags.get(slot) & ~SlotFlag.expresslane);
    for (let payload = 0; payload <= LONGEST - 28; payload += 3) {
      nodes.clear(fromTun);
      nodes.clear(sealed);
      const inner = Array.from({ length: 1 + (payload % 11) }, (_, i) =>
        build({ ...UDP, destination: insideOf(slot), payload: pattern(payload, i) }),
      );
      give(
        world,
        inner.map((bytes) => ({ bytes, kind: 0, segmentSize: 0, flags: 0, checksumStart: 0, checksumOffset: 0 })),
      );
      nodes.lookup(fromTun);
      const expected = inner.map((_, i) => Buffer.from(bytesAt(fromTun, i))); // translated
      nodes.seal(fromTun, sealed, 64, NOW);
      const opened: Buffer[] = [];
      for (let i = 0; i < sealed.header[HEADER.count]; i++) {
        const train = bytesAt(sealed, i);
        const size = sealed.segmentSize[i] || train.length;
        for (let at = 0; at < train.length; at += size) {
          const body = train.subarray(at + 16, at + size);
          opened.push(
            Buffer.from(overLane ? openLane(slot, train.subarray(at + 8, at + 16), body) : openData(slot, body)),
          );
        }
      }
      expect(opened).toEqual(expected);
    }
  });

  function openLane(slot: number, id: Uint8Array, frame: Uint8Array): Uint8Array {
    const version2 = (world.table.fields.flags.get(slot) & SlotFlag.aadFlags) !== 0;
    const aad = concat(id, frame.subarray(0, 8), version2 ? frame.subarray(38, 40) : new Uint8Array(0));
    const tagged = concat(frame.subarray(40), frame.subarray(20, 36));
    return openAead(SUITES.aes256, laneKey(slot, 'send'), frame.subarray(8, 20), aad, tagged);
  }

  function openData(slot: number, body: Uint8Array): Uint8Array {
    const { sendEpoch } = world.table.fields;
    return openRecord(recordKey(slot, 'send', sendEpoch.get(slot)), body).content.subarray(3);
  }
});
