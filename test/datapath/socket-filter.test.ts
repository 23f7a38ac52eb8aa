/**
 * The filter of replays under a whole shard: old datagrams are dropped by the kernel and counted, and nothing that a session may still receive ever is,
 * whatever becomes of its id, its keys, its shard and its slot.
 */
import { setTimeout } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { filterEntries } from '../../src/datapath/socket-filter.ts';
import { parseIpv4 } from '../../src/server/leases.ts';
import { EMPTY, encodeHeader, VERSION_1_3 } from '../../src/wire/header.ts';
import { SECOND } from '../../src/wire/time.ts';
import { FilterMap } from '../io/filtered.ts';
import { addon, backends, FEWEST_ENTRIES, filterRefusal, namespaceRefusal } from '../io/rig.ts';
import { build, bytesOf, concat, UDP } from '../packet/packets.ts';
import { CLIENT_INSIDE, NET_ADDRESS, numbered, Rig, type RigClient, type RigOptions, Socket } from './rig.ts';

const refusal = namespaceRefusal() ?? filterRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

const UPDATE = 60 * SECOND;
const rigs: Rig[] = [];
afterEach(() => {
  for (const rig of rigs.splice(0)) rig.close();
});

function start(options: Partial<RigOptions> = {}): Rig {
  const rig = new Rig({
    io: 'epoll',
    shards: 1,
    keyUpdateInterval: UPDATE,
    aead: addon.about().aead[0],
    ...options,
  });
  rigs.push(rig);
  return rig;
}

const up = (number: number) =>
  build({ ...UDP, source: parseIpv4(CLIENT_INSIDE), destination: NET_ADDRESS, payload: numbered(number) });

const long = (number: number) =>
  build({ ...UDP, source: parseIpv4(CLIENT_INSIDE), destination: NET_ADDRESS, payload: numbered(number, 1_200) });

/** Inner packets that came out at the net. */
function cameOut(rig: Rig): number[] {
  return rig.inside.receive().flatMap((bytes) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return Array.from({ length: (bytes.length - 28) / 64 }, (_, i) => view.getUint32(28 + i * 64));
  });
}

/** One by one, so that each is a datagram of its own. @returns the numbers that came out */
function deliver(rig: Rig, client: RigClient, datagrams: readonly Uint8Array[]): number[] {
  for (const datagram of datagrams) client.send([datagram]);
  rig.settle();
  return cameOut(rig);
}

/** Where the map tells of it. */
const entryOf = ({ id }: RigClient) => Number(id >> 48n) % FEWEST_ENTRIES;

const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);

describe.skipIf(refusal !== undefined)('a session behind the filter', () => {
  it.each(backends().flatMap((io) => [false, true].map((stepwise) => [io, stepwise] as const)))(
    'over %s (node by node: %s) loses replays to the kernel, which counts each',
    (io, stepwise) => {
      const rig = start({ io, stepwise });
      const client = rig.connect(2);
      const all = numbers(20).map((number) => client.lane(up(number)));
      expect(deliver(rig, client, all)).toEqual(numbers(20));
      const stranger = new Socket('127.0.0.9');
      const counted = rig.counted(() => {
        expect(deliver(rig, client, all)).toEqual([]);
        for (const datagram of all) stranger.send(rig.address, [datagram]);
        rig.settle();
      });
      stranger.close();
      expect(counted).toEqual({ filtered: 40 });
      expect(rig.ports('filtered')).toBe(40);
      expect(rig.ports('socketDrops')).toBe(0);
      expect(deliver(rig, client, [client.lane(up(77))])).toEqual([77]);
    },
  );

  it('gets what overtook, and what came late, and loses what came twice: any order, any gaps', () => {
    const rig = start();
    const client = rig.connect(2);
    const steps = fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom(1, 1, 1, 2, 3) },
      { weight: 3, arbitrary: fc.integer({ min: -80, max: 70 }) },
      { weight: 1, arbitrary: fc.constantFrom(-8192, -8191, -8193, 64, 8191, 8192, 9000) },
    );
    let highest = 0;
    const seen = new Set<number>();
    fc.assert(
      fc.property(fc.array(fc.array(steps, { minLength: 1, maxLength: 24 }), { maxLength: 6 }), (vectors) => {
        for (const vector of vectors) {
          const counters: number[] = [];
          for (const step of vector) counters.push(Math.max(0, (counters.at(-1) ?? highest) + step));
          const expected = counters.filter((counter) => {
            const isNew = counter > 0 && counter > highest - 8192 && !seen.has(counter);
            if (isNew) seen.add(counter);
            if (isNew) highest = Math.max(highest, counter);
            return isNew;
          });
          const datagrams = counters.map((counter) => client.lane(up(counter), { counter }));
          let came: number[] = [];
          const counted = rig.counted(() => {
            came = deliver(rig, client, datagrams);
          });
          const sorted = (all: readonly number[]) => [...all].sort((a, b) => a - b);
          expect(sorted(came)).toEqual(sorted(expected));
          const { filtered = 0, replayed = 0 } = counted;
          expect(filtered + replayed).toBe(counters.length - expected.length);
        }
      }),
      { numRuns: 60 },
    );
    expect(rig.counters().filtered).toBeGreaterThan(0);
  });

  it('loses to the kernel all that is below the first gap, or has left the window, and most of what is far above', () => {
    const rig = start();
    const client = rig.connect(2);
    const lane = (counter: number) => client.lane(up(counter), { counter });
    deliver(rig, client, [1, 2, 3, 5, 6].map(lane));
    const again = (...counters: number[]) => rig.counted(() => deliver(rig, client, counters.map(lane)));
    expect(again(1, 2, 3)).toEqual({ filtered: 3 });
    expect(again(5, 6)).toEqual({ replayed: 2 });
    expect(deliver(rig, client, [lane(4)])).toEqual([4]);
    expect(again(5, 6)).toEqual({ filtered: 2 });
    deliver(rig, client, [lane(20_000)]);
    expect(again(6, 7, 11_808)).toEqual({ filtered: 3 }); // 7 to 11,808 never came, and never may
    expect(deliver(rig, client, [lane(11_809)])).toEqual([11_809]);
    expect(again(11_809)).toEqual({ filtered: 1 });
    const far = Number.MAX_SAFE_INTEGER - 1;
    let found = false; // of 5,000: that none goes on has a chance of 3 in 10^9
    for (let at = far - 20_000; !found && at < far - 15_000; at += 50)
      found =
        deliver(
          rig,
          client,
          numbers(50).map((i) => lane(at + i)),
        ).length > 0;
    expect(found).toBe(true);
    expect(deliver(rig, client, [lane(far)])).toEqual([far % 2 ** 32]);
    expect(deliver(rig, client, [lane(far - 8191)])).toEqual([(far - 8191) % 2 ** 32]);
    expect(again(30_000)).toEqual({ filtered: 1 });
    expect(again(2 ** 48)).toEqual({ replayed: 1 }); // above the highest floor there is
  });

  it('goes on under a new id, and is safe from what was recorded under the old one', () => {
    const rig = start();
    const client = rig.connect(2);
    const recorded: Uint8Array[] = [];
    for (let round = 0; round < 12; round++) {
      const fresh = numbers(5).map((number) => client.lane(up(number)));
      expect(deliver(rig, client, fresh)).toEqual(numbers(5));
      recorded.push(...fresh);
      const { id } = client;
      if (round % 2 === 0) client.move(2 + round);
      else rig.pass(UPDATE + SECOND, SECOND); // a key update, with a rotation
      expect(deliver(rig, client, [client.lane(up(5))])).toEqual([5]);
      deliver(rig, client, [client.lane(up(6)), client.lane(up(7))]);
      expect(client.id).not.toBe(id);
      const counted = rig.counted(() => expect(deliver(rig, client, fresh)).toEqual([]));
      expect(counted).toEqual({ filtered: 5 });
    }
    // those of long ago are no longer told of, and the shard refuses them itself
    const { filtered = 0, replayed = 0 } = rig.counted(() => expect(deliver(rig, client, recorded)).toEqual([]));
    expect(filtered + replayed).toBe(recorded.length);
    expect(replayed).toBeGreaterThan(0);
  });

  it('tells of a new id with its second datagram: the first is what makes it the current one', () => {
    const rig = start();
    const client = rig.connect(2);
    client.move(3);
    const { id } = client;
    deliver(rig, client, [client.lane(up(0))]);
    client.advance();
    expect(client.id).not.toBe(id);
    const [first, second] = numbers(2).map((number) => client.lane(up(number)));
    expect(deliver(rig, client, [first])).toEqual([0]);
    expect(rig.counted(() => expect(deliver(rig, client, [first])).toEqual([]))).toEqual({ replayed: 1 });
    expect(deliver(rig, client, [second])).toEqual([1]);
    expect(rig.counted(() => expect(deliver(rig, client, [first, second])).toEqual([]))).toEqual({ filtered: 2 });
  });

  it('goes on when its Expresslane key changes: numbers go on too', () => {
    const rig = start({ keyUpdateInterval: 9_000 * SECOND });
    const client = rig.connect(2);
    const old = numbers(9).map((number) => client.lane(up(number)));
    expect(deliver(rig, client, old)).toEqual(numbers(9));
    const { send } = client.keys;
    rig.pass(901 * SECOND, 5 * SECOND);
    client.session.insideActivity(rig.now);
    client.advance();
    rig.settle();
    expect(client.keys.send).not.toEqual(send);
    expect(deliver(rig, client, [client.lane(up(1)), client.lane(up(2), { key: send })])).toEqual([1, 2]);
    expect(rig.counted(() => deliver(rig, client, old))).toEqual({ filtered: 9 });
  });

  it.each([1, 2])(
    'goes on in the successors of %i dead shards, which know what replays are as soon as it has sent',
    (shards) => {
      const rig = start({ shards });
      const clients = [2, 3, 4].map((host) => rig.connect(host));
      const before = clients.map((client) => numbers(6).map((number) => client.lane(up(number))));
      for (const [i, client] of clients.entries()) expect(deliver(rig, client, before[i])).toHaveLength(6);
      expect(rig.start()).toBe(3);
      for (const [i, client] of clients.entries()) {
        expect(rig.counted(() => expect(deliver(rig, client, before[i])).toEqual([]))).toEqual({ replayed: 6 });
        expect(deliver(rig, client, [client.lane(up(7))])).toEqual([7]);
        expect(rig.counted(() => expect(deliver(rig, client, before[i])).toEqual([]))).toEqual({ filtered: 6 });
      }
    },
  );

  it.each([2, 7])('leaves nothing to who comes after it, not even under an id that it had %i ids before', (moves) => {
    const rig = start({ slots: 8 });
    const first = rig.connect(2);
    const { slot, id } = first;
    const recorded = numbers(9).map((number) => first.lane(up(number)));
    expect(deliver(rig, first, recorded)).toEqual(numbers(9));
    for (let host = 20; host < 20 + moves; host++) {
      first.move(host); // and gets other ids
      deliver(rig, first, [first.lane(up(0))]);
      deliver(rig, first, [first.lane(up(1))]);
    }
    expect(first.id).not.toBe(id);
    first.goodbye();
    first.flush();
    rig.settle();
    expect(first.slot).toBe(-1);
    // as when a cookie is shown twice
    const stranger = new Socket('127.0.0.9');
    const counted = rig.counted(() => {
      for (const datagram of recorded) stranger.send(rig.address, [datagram]);
      rig.turn();
    });
    stranger.close();
    expect(counted).toMatchObject({ reject: 9 });
    expect(counted.filtered).toBeUndefined();
    let next = rig.connect(3);
    for (let host = 4; next.slot !== slot; host++) next = rig.connect(host);
    const { currentId } = rig.table.fields;
    const given = Uint8Array.from({ length: 8 }, (_, i) => Number((id >> BigInt(8 * (7 - i))) & 255n));
    currentId.set(slot, given);
    addon.indexSet(rig.index, 'id', given, slot);
    expect(
      deliver(
        rig,
        next,
        [1, 2, 3].map((counter) => next.lane(up(counter), { counter, id })),
      ),
    ).toEqual([1, 2, 3]);
  });

  it('is not limited for what the kernel drops of a flood of replays: its shard is not too slow', () => {
    const rig = start();
    const clients = [rig.connect(2)];
    for (let host = 3; clients.length < 2; host++) {
      const another = rig.connect(host);
      if (entryOf(another) !== entryOf(clients[0])) clients.push(another); // in turns, neither would be told of for long
    }
    rig.delay = 0;
    const recorded = clients.map((client) => numbers(40).map((number) => client.lane(up(number))));
    for (const [i, client] of clients.entries()) expect(deliver(rig, client, recorded[i])).toHaveLength(40);
    const counted = rig.counted(() => {
      for (let i = 0; i < 100; i++) {
        rig.now += 1_000;
        for (const [which, client] of clients.entries()) {
          const fresh = numbers(12).map((number) => client.lane(long(number)));
          for (const datagram of [...fresh, ...recorded[which]]) client.send([datagram]);
        }
        rig.shards[0].turn(rig.now, 0); // the socket is never found empty
      }
    });
    rig.settle();
    expect(counted.filtered).toBe(8_000);
    expect([counted.overload, counted.socketFull]).toEqual([undefined, undefined]);
  });

  it.each(backends())(
    'is counted as the kernel counts it by a shard at rest over %s, which reads each datagram directly',
    async (io) => {
      const rig = start({ io });
      const client = rig.connect(2);
      deliver(rig, client, [client.lane(up(0)), client.lane(up(1))]); // so that the kernel knows its id
      const map = new FilterMap(rig.map, 1);
      const id = Buffer.from(bytesOf('u64', client.id as never)).readBigUInt64LE();
      const before = map.counts(0, id);
      rig.shards[0].start();
      await setTimeout(20);
      const came: number[] = [];
      for (let number = 10; number < 60; number++) {
        client.send([client.lane(up(number))]);
        for (let waits = 0; waits < 1_000 && came.at(-1) !== number; waits++) {
          await setTimeout(3); // and then it rests again
          came.push(...cameOut(rig));
        }
      }
      expect(came).toEqual(numbers(50).map((number) => number + 10));
      const { put, taken } = map.counts(0, id);
      expect(taken - before.taken).toBe(50);
      expect(put).toBe(taken);
      expect(rig.ports('udpBeyondShare')).toBe(0);
    },
  );

  it('tells again, and takes back again, of an id whose tag is that of an empty entry', () => {
    const rig = start();
    const client = rig.connect(2);
    const { lanes } = rig.shards[0].control;
    const id = Uint8Array.of(1, 2, 3, 4, 5, 6, 0, 0);
    const { slot } = client;
    rig.table.fields.currentId.set(slot, id);
    addon.indexSet(rig.index, 'id', id, slot);
    const bytes = Buffer.from(id).readBigUInt64BE();
    const all = numbers(5).map((number) => client.lane(up(number), { id: bytes }));
    expect(deliver(rig, client, all)).toEqual(numbers(5));
    for (let round = 0; round < 2; round++) {
      addon.forgetFloors(lanes, slot);
      expect(rig.counted(() => deliver(rig, client, all))).toEqual({ replayed: 5 });
      expect(rig.counted(() => deliver(rig, client, all))).toEqual({ filtered: 5 });
    }
  });

  it('shares an entry of the table with others without harm', () => {
    const rig = start({ slots: 64 });
    const clients = numbers(24).map((i) => rig.connect(2 + i)); // of 16 entries
    const recorded = clients.map((): Uint8Array[] => []);
    for (let round = 0; round < 8; round++)
      for (const [i, client] of clients.entries()) {
        const fresh = [client.lane(up(0)), client.lane(up(1))];
        recorded[i].push(...fresh);
        expect(deliver(rig, client, fresh)).toEqual([0, 1]);
      }
    for (const [i, client] of clients.entries()) {
      const { filtered = 0, replayed = 0 } = rig.counted(() => expect(deliver(rig, client, recorded[i])).toEqual([]));
      expect(filtered + replayed).toBe(16);
      expect(rig.counted(() => deliver(rig, client, recorded[i]))).toEqual({ filtered: 16 }); // the entry is its own now
    }
  });
});

describe.skipIf(refusal !== undefined)('strangers behind the filter', () => {
  it('lose garbage to the kernel, which counts it, and are heard', () => {
    const rig = start();
    const stranger = new Socket('127.0.0.9');
    const counted = rig.counted(() => {
      for (let i = 0; i < 30; i++) stranger.send(rig.address, [Uint8Array.from({ length: 40 }, (_, at) => i + at)]);
      for (let i = 0; i < 3; i++) stranger.send(rig.address, [Uint8Array.of(1, 2, 3)]);
      rig.connect(2);
    });
    stranger.close();
    expect(counted).toMatchObject({ badMagic: 30, tooShort: 3, sessionsOpened: 1 });
    expect([rig.ports('socketDrops'), rig.ports('strangerDrops')]).toEqual([0, 0]);
    expect(rig.ports('garbage')).toBe(30);
    expect(counted.strangersFull).toBeUndefined();
  });

  it('are not taken for a flood because of it: those that find no room wait in the socket', () => {
    const rig = start();
    const stranger = new Socket('127.0.0.9');
    const garbage = numbers(40).map((i) => Uint8Array.from({ length: 40 }, (_, at) => i + at));
    const hello = concat(
      encodeHeader({ version: VERSION_1_3, aggressive: false, expresslane: false, sessionId: EMPTY }),
      garbage[0],
    );
    rig.settle();
    const counted = rig.counted(() => {
      for (const datagram of garbage) stranger.send(rig.address, [datagram]);
      for (let i = 0; i < 60; i++) stranger.send(rig.address, [hello]);
      addon.doorReceive(rig.handles[0], 1, 8);
    });
    stranger.close();
    expect(counted.strangersFull).toBeUndefined();
  });
});

describe('the table of a filter', () => {
  it('wants two entries a session, a power of two, within bounds', () => {
    expect(
      [
        [16_384, 1],
        [16_384, 2],
        [10, 8],
        [1_000, 3],
        [1_048_576, 1],
      ].map(([sessions, shards]) => filterEntries(sessions, shards)),
    ).toEqual([32_768, 16_384, 256, 1_024, 65_536]);
  });
});
