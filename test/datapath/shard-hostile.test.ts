/**
 * What strangers, attackers on the path and broken networks can send to a whole shard: each datagram costs one counter and nothing else.
 * The slot of the session under attack is compared byte by byte, and the session is used afterwards.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readControlState } from '../../src/datapath/control-state.ts';
import { PUBLIC_OFFSETS, PUBLIC_SLOT_BYTES } from '../../src/datapath/layout.ts';
import { parseIpv4 } from '../../src/server/leases.ts';
import { encodeHeader, HEADER_SIZE, REJECTED, VERSION_1_3 } from '../../src/wire/header.ts';
import { seeded, seededBytes } from '../dtls/network.ts';
import { namespaceRefusal } from '../io/rig.ts';
import { build, bytesOf, concat, UDP } from '../packet/packets.ts';
import { CLIENT_INSIDE, flavours, NET_ADDRESS, numbered, Rig, RigClient, Socket } from './rig.ts';

const refusal = namespaceRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

/** Counters that say what came or what was answered, beside the one that says why it went no further. */
const TALLIES = ['divert', 'answered', 'pings', 'strangers', 'rejectsSent'];

const packet = (number: number) =>
  build({ ...UDP, source: parseIpv4(CLIENT_INSIDE), destination: NET_ADDRESS, payload: numbered(number) });
const header = (id: bigint, expresslane = false) =>
  encodeHeader({ version: VERSION_1_3, aggressive: false, expresslane, sessionId: id });
const changed = (bytes: Uint8Array, at: number, to: number) => {
  const copy = bytes.slice();
  copy[at] = to;
  return copy;
};
const drops = (counted: Record<string, number>) =>
  Object.fromEntries(Object.entries(counted).filter(([name]) => !TALLIES.includes(name)));
const total = (counted: Record<string, number>) => Object.values(drops(counted)).reduce((sum, by) => sum + by, 0);

/** The whole public slot but the place of its control state, and what that says. */
function stateOf(rig: Rig, slot: number): unknown {
  const from = slot * PUBLIC_SLOT_BYTES;
  const fields = rig.table.bytes.subarray(from, from + PUBLIC_OFFSETS.snapshotLength);
  return { fields: Buffer.from(fields).toString('hex'), control: readControlState(rig.table, slot) };
}

const wholeTable = (rig: Rig) => Buffer.from(rig.table.bytes).toString('base64');

describe.skipIf(refusal !== undefined).each(flavours())('before login, over %s with %s', (io, aead) => {
  let rig: Rig;
  let socket: Socket;
  let hello: Uint8Array;

  beforeAll(() => {
    rig = new Rig({ io, aead, shards: 1 });
    socket = new Socket('127.0.0.77');
    const client = new RigClient(rig, 78);
    [hello] = client.taken();
    client.socket.close();
  });
  afterAll(() => {
    socket.close();
    rig.close();
  });

  /** What one datagram of a stranger costs. No slot is taken, and the answer keeps to three times what was sent. */
  function cost(datagram: Uint8Array): { counted: Record<string, number>; answers: Uint8Array[] } {
    const before = wholeTable(rig);
    let answers: Uint8Array[] = [];
    const counted = rig.counted(() => {
      socket.send(rig.address, [datagram]);
      rig.settle();
      answers = socket.receive();
    });
    const answered = answers.reduce((sum, { length }) => sum + length, 0);
    expect(answered).toBeLessThanOrEqual(3 * datagram.length);
    expect(wholeTable(rig)).toBe(before);
    return { counted, answers };
  }

  it('a ClientHello cut off anywhere is one drop', () => {
    for (let length = 0; length < hello.length; length++) {
      const { counted, answers } = cost(hello.slice(0, length));
      expect([length, total(counted), answers.length]).toEqual([length, 1, 0]);
      if (length <= HEADER_SIZE) expect(counted.tooShort).toBe(1);
    }
  }, 60_000);

  it('a ClientHello with any byte wrong is answered once or dropped once', () => {
    for (let at = 0; at < hello.length; at++)
      for (const value of [0, 0xff, hello[at] ^ 1, hello[at] ^ 0x80]) {
        if (value === hello[at]) continue;
        const { counted, answers } = cost(changed(hello, at, value));
        expect(answers.length).toBeLessThanOrEqual(1);
        const lost = total(counted);
        expect([at, value, lost === 1 || (lost === 0 && answers.length === 1)]).toEqual([at, value, true]);
      }
  }, 120_000);

  it.each([
    ['other magic', () => changed(hello, 0, 0x49), { badMagic: 1 }],
    ['version 1.0', () => changed(hello, 3, 0), { badVersion: 1 }],
    ['version 1.4', () => changed(hello, 3, 4), { badVersion: 1 }],
    ['version 2.3', () => changed(hello, 2, 2), { badVersion: 1 }],
    ['the REJECTED id', () => concat(header(REJECTED), hello.slice(16)), { rejectedId: 1 }],
    ['the REJECTED id alone', () => header(REJECTED), { rejectedId: 1 }],
    ['nothing behind the header', () => hello.slice(0, 16), { tooShort: 1 }],
    [
      'an Expresslane packet of no session',
      () => concat(header(0n, true), new Uint8Array(60)),
      { 'hello.notHello': 1 },
    ],
    ['an empty handshake record', () => concat(hello.slice(0, 27), bytesOf('u16', 0)), { 'hello.malformed': 1 }],
    ['a cookie of nobody', () => forgedCookie(), { 'hello.staleCookie': 1 }],
  ] as const)('%s is one drop without an answer', (_name, datagram, expected) => {
    const { counted, answers } = cost(datagram());
    expect(drops(counted)).toEqual(expected);
    expect(answers).toEqual([]);
  });

  it('an id that no session has is answered by a reject of 16 bytes, at most 200 times a second', () => {
    rig.now += 2_000_000;
    rig.turn(); // another second begins
    const { counted, answers } = cost(concat(header(77n), new Uint8Array(1)));
    expect(counted).toEqual({ reject: 1, rejectsSent: 1 });
    expect(answers).toHaveLength(1);
    expect(answers[0].subarray(8)).toEqual(new Uint8Array(8).fill(0xff));
    const many = (count: number) =>
      rig.counted(() => {
        for (let i = 0; i < count; i++) socket.send(rig.address, [concat(header(BigInt(i + 1000)), new Uint8Array(8))]);
        rig.settle();
      });
    expect(many(300)).toEqual({ reject: 199, rejectsSent: 199, unknownId: 101 });
    expect(socket.receive()).toHaveLength(199);
    rig.now += 990_000;
    rig.turn();
    expect(many(3)).toEqual({ unknownId: 3 });
    rig.now += 10_000;
    expect(rig.shards[0].control.nextDeadline()).toBeLessThanOrEqual(rig.now); // the shard wakes for it, whatever comes
    rig.turn();
    expect(many(3)).toEqual({ reject: 3, rejectsSent: 3 });
  });

  it('10,000 first ClientHellos of spoofed addresses leave no slot, and no heap to speak of', () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const sockets = Array.from({ length: 50 }, (_, i) => new Socket(`127.1.${i}.9`));
    const flood = () => {
      for (const each of sockets) {
        for (let i = 0; i < 10; i++) each.send(rig.address, [hello]);
        rig.settle();
        each.receive();
      }
    };
    flood();
    const before = wholeTable(rig);
    collect();
    const heap = process.memoryUsage().heapUsed;
    const counted = rig.counted(() => {
      for (let i = 0; i < 20; i++) flood();
    });
    collect();
    expect((counted.strangers ?? 0) + (counted.overload ?? 0)).toBe(10_000); // a fifth of the time may not do for all
    expect(counted.strangers).toBe(counted.divert);
    expect(process.memoryUsage().heapUsed - heap).toBeLessThan(1 << 20);
    expect(rig.shards[0].control.peers.size).toBe(0);
    expect(wholeTable(rig)).toBe(before);
    for (const each of sockets) each.close();
  }, 60_000);

  /** A second ClientHello whose cookie another address was given. */
  function forgedCookie(): Uint8Array {
    const other = new RigClient(rig, 79);
    other.flush();
    rig.settle();
    const [retry] = other.socket.receive();
    other.socket.close();
    other.hear(retry);
    return other.taken()[0];
  }

  it('garbage into a handshake under way is one drop each, and the handshake goes on', () => {
    const client = rig.open(80);
    rig.turn();
    client.take();
    rig.turn(); // the server waits for its crypto pool
    const [slot] = rig.shards[0].control.peers.keys();
    const random = seeded(5);
    const bytes = seededBytes(6);
    for (let i = 0; i < 100; i++) {
      const content = bytes(1 + Math.floor(random() * 200));
      content[0] = 0x80 | content[0]; // no record begins like this
      expect(
        total(
          rig.counted(() => {
            client.send([concat(header(0n), content)]);
            rig.turn();
          }),
        ),
      ).toBe(1);
      const id = new DataView(rig.table.fields.currentId.view(slot).slice().buffer).getBigUint64(0);
      expect(
        rig.counted(() => {
          socket.send(rig.address, [concat(header(id), content)]);
          rig.turn();
        }),
      ).toEqual({ divert: 1, wrongAddress: 1 });
    }
    rig.settle();
    expect(client.session.state).toBe('online');
    client.goodbye();
    client.flush();
    rig.settle();
  });
});

describe.skipIf(refusal !== undefined).each(flavours())('an Online session, over %s with %s', (io, aead) => {
  let rig: Rig;
  let client: RigClient;
  let stranger: Socket;
  let number = 0;

  beforeAll(() => {
    rig = new Rig({ io, aead, shards: 1 });
    client = rig.connect(90);
    stranger = new Socket('127.0.0.91');
    client.send([client.lane(packet(0)), client.record(packet(0))]);
    rig.settle();
  });
  afterAll(() => {
    stranger.close();
    rig.close();
  });

  /** What a datagram costs, sent from the session's own address or a stranger's. Its slot stays as it is. */
  function cost(datagram: Uint8Array, from: 'client' | 'stranger' = 'client'): Record<string, number> {
    const before = stateOf(rig, client.slot);
    let answers: Uint8Array[] = [];
    const counted = rig.counted(() => {
      if (from === 'client') client.send([datagram]);
      else stranger.send(rig.address, [datagram]);
      rig.turn();
      answers = stranger.receive();
    });
    expect(stateOf(rig, client.slot)).toEqual(before);
    expect(answers.reduce((sum, { length }) => sum + length, 0)).toBeLessThanOrEqual(3 * datagram.length);
    return drops(counted);
  }

  /** The session works: packets by both lanes arrive, and a Ping is answered. */
  function goesOn(): void {
    rig.inside.receive();
    number++;
    const heard = client.heard.length;
    client.ping();
    client.flush();
    client.send([client.lane(packet(number)), client.record(packet(number))]);
    const counted = rig.counted(() => rig.settle());
    expect(drops(counted)).toEqual({});
    const bytes = rig.inside.receive().reduce((sum, { length }) => sum + length - 28, 0);
    expect(bytes).toBe(2 * 64);
    expect(client.heard.length).toBe(heard + 1);
    expect(client.closed).toEqual([]);
  }

  const unknown = () => concat(header(77n), new Uint8Array(40));
  const key = new Uint8Array(32).fill(9);

  it.each([
    ['an Expresslane packet', () => client.lane(packet(1))],
    ['a record', () => client.record(packet(1))],
  ] as const)('%s cut off anywhere is one drop', (_name, make) => {
    const datagram = make();
    for (let length = 0; length < datagram.length; length++) {
      const counted = cost(datagram.slice(0, length));
      expect([length, total(counted)]).toEqual([length, 1]);
      if (length <= HEADER_SIZE) expect(counted).toEqual({ tooShort: 1 });
    }
    goesOn();
  });

  it('an Expresslane packet with any bit wrong is one drop; what nothing protects may say what it likes', () => {
    const datagram = client.lane(packet(1));
    for (let at = 0; at < datagram.length; at++) {
      if (at === 4 || at === 6 || at === 7) continue; // aggressive, reserved
      if (at === 5) continue; // any flag but 0 says Expresslane; 0 is a case of its own
      for (let bit = 1; bit < 256; bit <<= 1) {
        const counted = cost(changed(datagram, at, datagram[at] ^ bit));
        expect([at, bit, total(counted)]).toEqual([at, bit, 1]);
      }
    }
    expect(cost(changed(datagram, 5, 0))).toEqual({ malformed: 1 });
    goesOn();
  }, 60_000);

  it('a record with any bit wrong is one drop, and one more for what is behind it when it says it is shorter', () => {
    const datagram = client.record(packet(1));
    for (let at = 0; at < datagram.length; at++) {
      if (at >= 4 && at < 16) continue; // Expresslane flag: below; the id of a record's datagram is not authenticated
      for (let bit = 1; bit < 256; bit <<= 1) {
        const counted = cost(changed(datagram, at, datagram[at] ^ bit));
        const shorter = (at === 19 || at === 20) && (datagram[at] & bit) !== 0;
        expect([at, bit, total(counted)]).toEqual([at, bit, shorter ? 2 : 1]);
      }
    }
    expect(total(cost(changed(datagram, 5, 1)))).toBe(1);
    goesOn();
  }, 60_000);

  it.each([
    ['other magic', () => changed(client.lane(packet(1)), 1, 0), { badMagic: 1 }],
    ['a version that is none', () => changed(client.lane(packet(1)), 3, 9), { badVersion: 1 }],
    ['another version than the session has', () => changed(client.lane(packet(1)), 3, 1), { versionMismatch: 1 }],
    ['the REJECTED id', () => concat(header(REJECTED), new Uint8Array(40)), { rejectedId: 1 }],
    ['a key of nobody', () => client.lane(packet(1), { key }), { forged: 1 }],
    ['an id that is not in the tag', () => concat(header(5n, true), client.lane(packet(1)).slice(16)), { forged: 1 }],
    [
      'an epoch that is not there',
      () => concat(header(client.id), bytesOf('u8', 0x2d, 'u16', 0, 'u16', 32), new Uint8Array(32)),
      { noKey: 1 },
    ],
    [
      "the handshake's epoch",
      () => concat(header(client.id), bytesOf('u8', 0x2e, 'u16', 0, 'u16', 32), new Uint8Array(32)),
      { noKey: 1 },
    ],
    [
      'a plaintext alert',
      () => concat(header(client.id), bytesOf('u8', 21, 'u16', 0xfefd, 'u64', 9, 'u16', 2, 'u16', 0x0228)),
      { unprotected: 1 },
    ],
    [
      'plaintext application data',
      () => concat(header(client.id), bytesOf('u8', 23, 'u16', 0xfefd, 'u64', 9, 'u16', 1, 'u8', 5)),
      { unprotected: 1 },
    ],
    [
      'a plaintext ACK',
      () => concat(header(client.id), bytesOf('u8', 26, 'u16', 0xfefd, 'u64', 9, 'u16', 2, 'u16', 0)),
      { unprotected: 1 },
    ],
  ] as const)('%s is one drop', (_name, datagram, expected) => {
    expect(cost(datagram())).toEqual(expected);
    goesOn();
  });

  it('what came before is one drop when it comes again, from whichever address', () => {
    const datagrams = [client.lane(packet(1)), client.record(packet(1))];
    client.send(datagrams);
    rig.settle();
    for (const datagram of datagrams)
      for (const from of ['client', 'stranger'] as const) expect(cost(datagram, from)).toEqual({ replayed: 1 });
    goesOn();
  });

  it('forgeries from another address move nothing, and are answered by nothing', () => {
    expect(cost(client.lane(packet(1), { key }), 'stranger')).toEqual({ forged: 1 });
    expect(
      cost(concat(header(client.id), bytesOf('u8', 0x2f, 'u16', 0, 'u16', 32), new Uint8Array(32)), 'stranger'),
    ).toEqual({ forged: 1 });
    expect(
      cost(concat(header(client.id), bytesOf('u8', 21, 'u16', 0xfefd, 'u64', 9, 'u16', 2, 'u16', 0x0228)), 'stranger'),
    ).toEqual({ unprotected: 1 });
    expect(cost(unknown(), 'stranger')).toEqual({ reject: 1 });
    goesOn();
  });

  it("random bytes behind the session's header never pass, and cost one counter for each record they pretend to be", () => {
    const random = seeded(11);
    const bytes = seededBytes(12);
    for (let i = 0; i < 300; i++) {
      const content = bytes(1 + Math.floor(random() * 1400));
      const lane = i % 2 === 1;
      const counted = cost(concat(header(client.id, lane), content));
      expect([i, lane ? total(counted) : Math.min(1, total(counted))]).toEqual([i, 1]);
    }
    goesOn();
  }, 30_000);

  it('a first ClientHello from its own address is answered and ends nothing', () => {
    const other = new RigClient(rig, 92);
    other.socket.close();
    const [hello] = other.taken();
    const before = stateOf(rig, client.slot);
    client.send([hello]);
    rig.turn();
    expect(client.socket.receive()).toHaveLength(1);
    expect(stateOf(rig, client.slot)).toEqual(before);
    goesOn();
  });

  it.each([
    [
      'overlapping',
      [
        [0, true, 16],
        [8, true, 16],
      ],
      { 'session.fragmentOverlap': 1 },
    ],
    [
      'beyond the end',
      [
        [32, false, 16],
        [64, true, 16],
      ],
      { 'session.fragmentBeyondEnd': 1 },
    ],
    ['empty', [[8, true, 0]], { 'session.fragmentEmpty': 1 }],
    ['of a packet beyond 65,535 bytes', [[65_528, false, 64]], { 'session.fragmentTooLarge': 1 }],
  ] as [string, [number, boolean, number][], Record<string, number>][])(
    'fragments %s are one drop',
    (_name, pieces, expected) => {
      const counted = rig.counted(() => {
        for (const [offset, more, length] of pieces) {
          const piece = packet(1).slice(0, length);
          client.say({ kind: 'dataFrag', id: 40 + number, offset, more, piece });
        }
        rig.turn();
      });
      expect(drops(counted)).toEqual(expected);
      goesOn();
    },
  );

  it('authentic nonsense is one drop: unknown frames, half frames, what is no IPv4 packet', () => {
    const inner = (bytes: Uint8Array) => {
      const counted = rig.counted(() => {
        client.content(bytes);
        rig.turn();
      });
      return drops(counted);
    };
    expect(inner(Uint8Array.of(200, 1, 2))).toEqual({ 'session.unknownKind': 1 });
    expect(inner(Uint8Array.of(5, 0, 200, 1))).toEqual({ 'session.truncatedFrame': 1 });
    expect(inner(concat(Uint8Array.of(5, 0, 20), new Uint8Array(20)))).toEqual({ notIpv4: 1 });
    expect(inner(concat(Uint8Array.of(5, 0, 4), new Uint8Array(4)))).toEqual({ malformed: 1 });
    expect(inner(concat(Uint8Array.of(5, 0, 20, 0x45, 0, 0, 21), new Uint8Array(16)))).toEqual({ malformed: 1 });
    const encoded = rig.counted(() => {
      client.send([client.lane(packet(1), { flags: 0x8000 })]);
      rig.turn();
    });
    expect(drops(encoded)).toEqual({ malformed: 1 });
    goesOn();
  });
});
