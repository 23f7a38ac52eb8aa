/** What strangers, liars and replayers send: each datagram costs one counter and nothing else. */
import { describe, expect, it } from 'vitest';
import { Flag, HEADER, type VERDICTS } from '../../src/datapath/batch.ts';
import { build, bytesOf, concat, pattern, UDP } from '../packet/packets.ts';
import { backends } from './backends.ts';
import { dataFrame, header, sealLane, sealRecord, WHOLE } from './peer.ts';
import { laneDatagram, receive } from './traffic.ts';
import { addressOf, countersOf, entriesOf, idOf, laneKey, recordKey, Slot, setUp, type World } from './world.ts';

const NOW = 77;
const PACKET = build({ ...UDP, payload: pattern(40) });

const lane = (counter = 1n, packet = PACKET) => laneDatagram(Slot.lane, counter, packet);
const record = (slot: number, number = 0, content = dataFrame(PACKET), type = 23) =>
  sealRecord(recordKey(slot, 'receive', 5), number, type, content);
const dtls = (slot: number, ...records: Uint8Array[]) => concat(header(idOf(slot), false), ...records);

function patched(bytes: Uint8Array, at: number, ...values: number[]): Uint8Array {
  const copy = bytes.slice();
  copy.set(values, at);
  return copy;
}

interface Attack {
  readonly name: string;
  /** Whose address it comes from: a slot's, or a stranger's from 50 on. */
  readonly from: number;
  readonly datagram: Uint8Array;
  readonly verdict: (typeof VERDICTS)[number];
}

const lying: Attack[] = [
  ...[1, 0x7fff, 0xffff].map((by): Attack => {
    const length = PACKET.length + by;
    return {
      name: `an Expresslane length of ${length & 0xffff} in a datagram of ${PACKET.length}`,
      from: Slot.lane,
      datagram: patched(lane(), 16 + 36, (length >> 8) & 0xff, length & 0xff),
      verdict: (length & 0xffff) > PACKET.length ? 'tooShort' : 'forged',
    };
  }),
  {
    name: 'an Expresslane length that is one too small',
    from: Slot.lane,
    datagram: patched(lane(), 16 + 37, PACKET.length - 1),
    verdict: 'forged',
  },
  {
    name: 'a record length of 65,535',
    from: Slot.records,
    datagram: patched(dtls(Slot.records, record(Slot.records)), 19, 0xff, 0xff),
    verdict: 'malformed',
  },
  {
    name: 'a record length of 0',
    from: Slot.records,
    datagram: dtls(Slot.records, bytesOf('u8', 0x2d, 'u16', 9, 'u16', 0)),
    verdict: 'malformed',
  },
  {
    name: 'a record too short for a content type',
    from: Slot.records,
    datagram: dtls(Slot.records, bytesOf('u8', 0x2d, 'u16', 9, 'u16', 16), pattern(16)),
    verdict: 'malformed',
  },
  {
    name: 'a record with a connection id',
    from: Slot.records,
    datagram: dtls(Slot.records, bytesOf('u8', 0x3d), pattern(60)),
    verdict: 'malformed',
  },
  {
    name: 'a first byte that begins no record',
    from: Slot.records,
    datagram: dtls(Slot.records, bytesOf('u8', 0x80), pattern(60)),
    verdict: 'malformed',
  },
  {
    name: 'a record of nothing but padding',
    from: Slot.records,
    datagram: dtls(
      Slot.records,
      sealRecord(recordKey(Slot.records, 'receive', 5), 0, 0, new Uint8Array(0), { ...WHOLE, padding: 20 }),
    ),
    verdict: 'malformed',
  },
  {
    name: 'a content type nobody knows',
    from: Slot.records,
    datagram: dtls(Slot.records, record(Slot.records, 0, pattern(9), 99)),
    verdict: 'malformed',
  },
  { name: 'an encoded packet, though there is no codec', from: Slot.lane, datagram: encoded(), verdict: 'malformed' },
];

function encoded(): Uint8Array {
  const id = idOf(Slot.lane);
  const sealed = sealLane({
    id,
    key: laneKey(Slot.lane, 'receive'),
    counter: 1n,
    iv: pattern(12),
    flags: 0x8000,
    version: 2,
    packet: PACKET,
  });
  return concat(header(id, true), sealed);
}

const forged: Attack[] = [
  { name: 'nothing but zeros', from: Slot.lane, datagram: new Uint8Array(60), verdict: 'badMagic' },
  { name: 'another magic', from: Slot.lane, datagram: patched(lane(), 0, 0x49), verdict: 'badMagic' },
  { name: 'protocol 1.4', from: Slot.lane, datagram: patched(lane(), 3, 4), verdict: 'badVersion' },
  { name: 'protocol 1.0', from: Slot.lane, datagram: patched(lane(), 3, 0), verdict: 'badVersion' },
  { name: 'protocol 2.1', from: Slot.lane, datagram: patched(lane(), 2, 2, 1), verdict: 'badVersion' },
  {
    name: 'a version other than its session has',
    from: Slot.lane,
    datagram: patched(lane(), 3, 2),
    verdict: 'versionMismatch',
  },
  {
    name: 'the rejected id from a known address',
    from: Slot.lane,
    datagram: patched(lane(), 8, ...new Array(8).fill(0xff)),
    verdict: 'rejectedId',
  },
  {
    name: 'the rejected id from a stranger',
    from: 60,
    datagram: patched(lane(), 8, ...new Array(8).fill(0xff)),
    verdict: 'rejectedId',
  },
  { name: 'an unknown id from a stranger', from: 60, datagram: patched(lane(), 8, 1, 2, 3), verdict: 'reject' },
  { name: 'counter 0', from: Slot.lane, datagram: lane(0n), verdict: 'replayed' },
  {
    name: 'a key of another session',
    from: Slot.lane,
    datagram: laneDatagram(Slot.lane, 1n, PACKET, laneKey(Slot.client, 'receive')),
    verdict: 'forged',
  },
  {
    name: 'our own send key',
    from: Slot.lane,
    datagram: laneDatagram(Slot.lane, 1n, PACKET, laneKey(Slot.lane, 'send')),
    verdict: 'forged',
  },
  { name: 'flags the tag does not cover', from: Slot.lane, datagram: patched(lane(), 16 + 39, 1), verdict: 'forged' },
  { name: 'a session id the tag does not cover', from: Slot.lane, datagram: patched(lane(), 15, 7), verdict: 'forged' },
  {
    name: 'a packet to a session without keys',
    from: Slot.records,
    datagram: laneDatagram(Slot.records, 1n, PACKET),
    verdict: 'noKey',
  },
  {
    name: 'a packet to a session that is not online',
    from: Slot.linkUp,
    datagram: laneDatagram(Slot.linkUp, 1n, PACKET),
    verdict: 'notOnline',
  },
  {
    name: 'a Data frame before login',
    from: Slot.linkUp,
    datagram: dtls(Slot.linkUp, record(Slot.linkUp)),
    verdict: 'notOnline',
  },
  {
    name: 'a packet to a session of another engine',
    from: Slot.superseded,
    datagram: laneDatagram(Slot.superseded, 1n, PACKET),
    verdict: 'superseded',
  },
  {
    name: 'a record under the key of the next epoch',
    from: Slot.records,
    datagram: dtls(Slot.records, wrongEpoch()),
    verdict: 'forged',
  },
  {
    name: 'a record of an epoch that is not installed',
    from: Slot.records,
    datagram: dtls(Slot.records, bytesOf('u8', 0x2e, 'u16', 9, 'u16', 60), pattern(60)),
    verdict: 'noKey',
  },
  {
    name: 'a plaintext record from a session',
    from: Slot.records,
    datagram: dtls(Slot.records, bytesOf('u8', 22), pattern(60)),
    verdict: 'unprotected',
  },
  { name: 'nothing behind the header', from: Slot.records, datagram: dtls(Slot.records), verdict: 'tooShort' },
];

function wrongEpoch(): Uint8Array {
  return sealRecord({ ...recordKey(Slot.records, 'receive', 4), epoch: 5 }, 0, 23, dataFrame(PACKET));
}

describe.each(backends)('$name', ({ create }) => {
  const world = create();

  function send(datagrams: readonly Uint8Array[], from: number): void {
    const { nodes, trains, packets } = world;
    for (const batch of [trains, packets]) nodes.clear(batch);
    receive(world, [{ address: addressOf(from), datagrams }]);
    nodes.locate(trains);
    nodes.open(trains, packets, NOW);
    nodes.admit(packets, NOW);
  }

  /** Everything a session has, in bytes. */
  const tableOf = ({ table }: World) => Buffer.from(table.bytes).toString('hex');

  it.each([...forged, ...lying])('$name: $verdict, once', ({ from, datagram, verdict }) => {
    setUp(world);
    const before = tableOf(world);
    send([datagram], from);
    expect(countersOf(world)).toEqual({ [verdict]: 1 });
    const passing = entriesOf(world.packets).entries.filter((entry) => entry.verdict === 'pass');
    expect(passing).toEqual([]);
    // only what the AEAD proved may have moved a window
    const authentic = verdict === 'malformed' && world.table.fields.lastOutside.get(from < 50 ? from : 0) === NOW;
    if (!authentic && verdict !== 'notOnline') expect(tableOf(world)).toBe(before);
  });

  it.each([
    ['Expresslane packet', Slot.lane, lane()],
    ['DTLS record', Slot.records, dtls(Slot.records, record(Slot.records))],
  ] as const)('a %s cut at every byte costs one counter each and moves nothing', (_, slot, datagram) => {
    for (let length = 0; length < datagram.length; length++) {
      setUp(world);
      const before = tableOf(world);
      send([datagram.slice(0, length)], slot);
      const counters = Object.values(countersOf(world));
      expect([length, counters]).toEqual([length, [1]]);
      expect(world.packets.header[HEADER.count], `${length} bytes`).toBe(0);
      expect(tableOf(world)).toBe(before);
    }
  });

  it.each([
    ['Expresslane packet', Slot.lane, lane()],
    ['DTLS record', Slot.records, dtls(Slot.records, record(Slot.records))],
  ] as const)('a %s with any byte changed passes nothing it should not', (_, slot, datagram) => {
    for (let at = 0; at < datagram.length; at++) {
      setUp(world);
      send([patched(datagram, at, datagram[at] ^ 0x41)], slot);
      // the aggressive flag, reserved bytes, and with DTLS the id are covered by nothing; flag 5 picks the lane
      const free =
        at === 4 ||
        at === 6 ||
        at === 7 ||
        (slot === Slot.records && at >= 8 && at < 16) ||
        (slot === Slot.lane && at === 5);
      const passed = entriesOf(world.packets).entries.filter((entry) => entry.verdict === 'pass').length;
      expect([at, passed]).toEqual([at, free ? 1 : 0]);
      const total = Object.values(countersOf(world)).reduce((sum, count) => sum + count, 0);
      const parts = slot === Slot.records && at === 20 ? 2 : 1; // a shorter length makes two of one record
      expect([at, total]).toEqual([at, free ? 0 : parts]);
    }
  });

  it('judges each datagram of a train by its own header', () => {
    setUp(world);
    const zeros = new Uint8Array(lane().length);
    const others = [
      patched(lane(3n), 3, 2),
      zeros,
      patched(lane(4n), 0, 0x49),
      patched(lane(5n), 8, ...new Array(8).fill(0xff)),
    ];
    send([lane(1n), lane(2n), ...others.flatMap((other, i) => [other, lane(BigInt(6 + i))])], Slot.lane);
    expect(world.packets.header[HEADER.count]).toBe(6);
    expect(countersOf(world)).toEqual({ versionMismatch: 1, badMagic: 2, rejectedId: 1 });
    setUp(world);
    const hello = concat(header(new Uint8Array(8), false), pattern(44));
    send([hello, new Uint8Array(60), hello], 60); // of a stranger, who has no slot
    expect(countersOf(world)).toEqual({ divert: 3, badMagic: 1 });
  });

  it('knows of each datagram of a train by itself whether it names another id', () => {
    setUp(world);
    const other = pattern(8, 3);
    const named = (number: number) => concat(header(other, false), record(Slot.linkUp, number, pattern(2), 26));
    const before = concat(header(new Uint8Array(8), true), pattern(named(0).length - 16)); // before login there is no lane
    send([named(0), before, named(1)], Slot.linkUp);
    expect(entriesOf(world.packets).entries.map(({ flags }) => (flags as number) & Flag.newId)).toEqual([
      Flag.newId,
      Flag.newId,
    ]);
    expect(countersOf(world)).toEqual({ divert: 2, notOnline: 1 });
  });

  it('lets nothing in twice, however it is sent again', () => {
    setUp(world);
    send([lane(5n), lane(5n), lane(6n), lane(5n)], Slot.lane);
    expect(world.packets.header[HEADER.count]).toBe(2);
    send([lane(6n)], 90); // from another address
    send([lane(9000n), lane(6n), lane(808n), lane(809n)], Slot.lane); // behind the window of 8,192, and the oldest in it
    expect(world.packets.header[HEADER.count]).toBe(2);
    expect(countersOf(world)).toEqual({ replayed: 5 });
    setUp(world);
    const [first, second] = [record(Slot.records, 600), record(Slot.records, 88)];
    send([dtls(Slot.records, first), dtls(Slot.records, first), dtls(Slot.records, second, second)], Slot.records);
    expect([world.packets.header[HEADER.count], countersOf(world)]).toEqual([1, { replayed: 3 }]);
  });

  it('says who roams only for what is authentic: a forged datagram from elsewhere leaves no entry', () => {
    setUp(world);
    send([patched(lane(), 60, 0), lane(2n)], 95);
    const entries = entriesOf(world.packets).entries;
    expect(entries.map(({ flags, slot }) => [flags, slot])).toEqual([
      [Flag.expresslane | Flag.floating | Flag.checksumValid, Slot.lane],
    ]);
    expect(countersOf(world)).toEqual({ forged: 1 });
  });

  it('opens 32 records of a datagram and no more', () => {
    setUp(world);
    const ack = (number: number) => record(Slot.records, number, pattern(2), 26);
    send([dtls(Slot.records, ...Array.from({ length: 40 }, (_, i) => ack(i)))], Slot.records);
    expect([world.packets.header[HEADER.count], countersOf(world)]).toEqual([32, { divert: 32, malformed: 1 }]);
  });

  it('keeps what stands before garbage in a datagram', () => {
    setUp(world);
    send(
      [
        dtls(
          Slot.records,
          record(Slot.records, 3),
          pattern(20, 7).map(() => 0x90),
        ),
      ],
      Slot.records,
    );
    expect([world.packets.header[HEADER.count], countersOf(world)]).toEqual([1, { malformed: 1 }]);
  });
});
