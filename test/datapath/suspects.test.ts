/**
 * Sessions that are flooded, under a whole shard: while one is a suspect the kernel knows the numbers of its records, drops what its window would refuse, and
 * nothing that it may still receive. Floods go on until the kernel has dropped some: how fast the machine is decides no test.
 */
import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { parseIpv4 } from '../../src/server/leases.ts';
import { encodeHeader, VERSION_1_3 } from '../../src/wire/header.ts';
import { FilterMap } from '../io/filtered.ts';
import { addon, backends, FEWEST_ENTRIES, filterRefusal, namespaceRefusal } from '../io/rig.ts';
import { build, bytesOf, concat, UDP } from '../packet/packets.ts';
import { CLIENT_INSIDE, NET_ADDRESS, numbered, Rig, type RigClient, type RigOptions, Socket } from './rig.ts';

const refusal = namespaceRefusal() ?? filterRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

/** Cases of suspects (native/steering/suspects.h): slots that are the same modulo this share one. */
const CASES = 64;
/** Sent at once, and at most so often. */
const BURST = 400;
const BURSTS = 2_000;
/** Of a session's own datagrams, between two turns of its shard. */
const AT_A_TIME = 25;

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0).reverse()) close();
});

function start(options: Partial<RigOptions> = {}): Rig {
  const aead = addon.about().aead[0];
  const rig = new Rig({ io: 'epoll', shards: 1, aead, expresslane: false, ...options });
  closing.push(() => rig.close());
  rig.delay = 0;
  return rig;
}

const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);
const sorted = (all: readonly number[]) => [...all].sort((a, b) => a - b);

let last = 0;
/** Records with packets that nobody has sent before, and the packets' numbers. */
function fresh(client: RigClient, count: number): { number: number; datagram: Uint8Array }[] {
  return numbers(count).map(() => {
    const number = ++last;
    const payload = numbered(number);
    const packet = build({ ...UDP, source: parseIpv4(CLIENT_INSIDE), destination: NET_ADDRESS, payload });
    return { number, datagram: client.record(packet) };
  });
}

/** One by one, so that each is a datagram of its own. @returns the numbers that came out */
function deliver(rig: Rig, client: RigClient, datagrams: readonly Uint8Array[]): number[] {
  for (const datagram of datagrams) client.send([datagram]);
  rig.settle();
  return rig.inside.receive().flatMap((bytes) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return Array.from({ length: (bytes.length - 28) / 64 }, (_, i) => view.getUint32(28 + i * 64));
  });
}

/** All of them come out, whatever their order: some after the shard has told the kernel of others. */
function carries(rig: Rig, client: RigClient, count: number, order = (all: Uint8Array[]) => all): void {
  const all = fresh(client, count);
  const left = order(all.map(({ datagram }) => datagram));
  const came: number[] = [];
  while (left.length > 0) came.push(...deliver(rig, client, left.splice(0, AT_A_TIME)));
  expect(sorted(came)).toEqual(all.map(({ number }) => number));
}

/** Sends one at a time, of any of these, until `done`. */
function flood(rig: Rig, from: { send(burst: Uint8Array[]): void }, each: () => Uint8Array, done: () => boolean): void {
  for (let burst = 0; burst < BURSTS && !done(); burst++) {
    from.send(numbers(BURST).map(each));
    while (rig.shards[0].turn(rig.now, 0)); // what comes of it waits
  }
  expect(done()).toBe(true);
}

const replays = (recorded: readonly { datagram: Uint8Array }[]) => {
  let next = 0;
  return () => recorded[next++ % recorded.length].datagram;
};
const forged = ({ id }: RigClient) => {
  const header = encodeHeader({ version: VERSION_1_3, aggressive: false, expresslane: false, sessionId: id });
  return () => concat(header, bytesOf('u8', 0x2f), randomBytes(2), bytesOf('u16', 60), randomBytes(60));
};

/** Floods until the kernel drops some of it, so that the session is a suspect. */
function suspect(rig: Rig, client: RigClient, each: () => Uint8Array): void {
  const before = rig.ports('filtered');
  flood(rig, client, each, () => rig.ports('filtered') > before);
}

/** Of the shard's part of the map, what is told of a session. */
function told(rig: Rig, client: Pick<RigClient, 'id'>) {
  const id = Buffer.from(bytesOf('u64', client.id as never)).readBigUInt64LE();
  return new FilterMap(rig.map, 1).entries(0).find((entry) => entry.id === id);
}

const entryOf = ({ id }: RigClient) => Number(id >> 48n) % FEWEST_ENTRIES;
const blockOf = (rig: Rig, slot: number) => new FilterMap(rig.map, 1).block(0, (slot % CASES) + 1);
const isZero = (block: Uint32Array) => block.every((word) => word === 0);

/** Within the window of 512 numbers. */
function shuffled(all: Uint8Array[]): Uint8Array[] {
  const [order] = fc.sample(fc.shuffledSubarray(numbers(all.length), { minLength: all.length }), 1);
  return order.map((i) => all[i]);
}

/** A session of records alone, and a hundred of them that have come, to be sent again. */
function startRecorded() {
  const rig = start();
  const client = rig.connect(2, { expresslane: false });
  const recorded = fresh(client, 100);
  deliver(
    rig,
    client,
    recorded.map(({ datagram }) => datagram),
  );
  return { rig, client, recorded };
}

describe.skipIf(refusal !== undefined)('a flooded session of records alone', () => {
  it.each(backends().flatMap((io) => [false, true].map((stepwise) => [io, stepwise] as const)))(
    'over %s (node by node: %s) loses replays and forgeries to the kernel, and no record of its own in any order',
    (io, stepwise) => {
      const rig = start({ io, stepwise });
      const client = rig.connect(2, { expresslane: false });
      const recorded = fresh(client, 300);
      expect(
        deliver(
          rig,
          client,
          recorded.map(({ datagram }) => datagram),
        ),
      ).toHaveLength(300);
      for (const each of [replays(recorded), forged(client)]) {
        for (let round = 0; round < 4; round++) {
          suspect(rig, client, each);
          expect(isZero(blockOf(rig, client.slot))).toBe(false);
          carries(rig, client, 200, shuffled);
          carries(rig, client, 3);
        }
      }
      expect(rig.ports('socketDrops')).toBe(0);
    },
  );

  it('loses no record to a jump of its numbers that the kernel’s bound allows', () => {
    const { rig, client, recorded } = startRecorded();
    for (const lost of [3_000, 4_000, 1]) {
      suspect(rig, client, replays(recorded));
      fresh(client, lost); // never sent
      carries(rig, client, 20);
    }
  });

  it('loses no record when its keys are updated meanwhile, epoch by epoch around all four places', () => {
    const { rig, client, recorded } = startRecorded();
    for (let update = 0; update < 9; update++) {
      suspect(rig, client, update % 2 ? forged(client) : replays(recorded));
      const late = fresh(client, 5);
      client.updateKeys(update % 3 === 0);
      client.flush();
      rig.settle();
      carries(rig, client, 40, shuffled);
      const before = late.map(({ datagram }) => datagram);
      expect(deliver(rig, client, before)).toEqual(late.map(({ number }) => number)); // of the epoch before
      carries(rig, client, 40, shuffled);
    }
  });

  it('leaves nothing in the map when its slot is cleared, neither key nor word', () => {
    const rig = start();
    const client = rig.connect(2, { expresslane: false });
    const { slot, id } = client;
    const recorded = fresh(client, 100);
    deliver(
      rig,
      client,
      recorded.map(({ datagram }) => datagram),
    );
    suspect(rig, client, replays(recorded));
    expect(told(rig, { id })).toMatchObject({ block: BigInt((slot % CASES) + 1) });
    expect(told(rig, { id })?.until).toBeGreaterThan(0n);
    expect(isZero(blockOf(rig, slot))).toBe(false);
    client.goodbye();
    client.flush();
    rig.settle();
    expect(client.slot).toBe(-1);
    expect(isZero(blockOf(rig, slot))).toBe(true);
    expect(told(rig, { id })).toMatchObject({ word: 0n, until: 0n, block: 0n });
  });

  it('begins anew under its next shard: nothing of what was told before is in force', () => {
    const { rig, client, recorded } = startRecorded();
    suspect(rig, client, replays(recorded));
    expect(rig.start()).toBe(1);
    rig.delay = 0;
    expect(isZero(blockOf(rig, client.slot))).toBe(true);
    carries(rig, client, 100, shuffled);
    suspect(rig, client, replays(recorded));
    carries(rig, client, 100, shuffled);
  });

  it('is a suspect, and begins anew, where its id ends in zeros too: the word of its entry is 0', () => {
    const rig = start();
    const client = rig.connect(2, { expresslane: false });
    const id = Uint8Array.of(1, 2, 3, 4, 5, 6, 0, 0);
    const { slot } = client;
    rig.table.fields.currentId.set(slot, id);
    addon.indexSet(rig.index, 'id', id, slot);
    const named = (all: Uint8Array[]) => all.map((each) => concat(each.slice(0, 8), id, each.slice(16)));
    const recorded = named(fresh(client, 100).map(({ datagram }) => datagram));
    expect(deliver(rig, client, recorded)).toHaveLength(100);
    suspect(rig, client, replays(recorded.map((datagram) => ({ datagram }))));
    carries(rig, client, 100, named);
    expect(rig.start()).toBe(1);
    rig.delay = 0;
    carries(rig, client, 100, named);
  });

  it('gives up its place to another of the same case, and neither loses a record', () => {
    const rig = start({ slots: 2 * CASES });
    const clients = numbers(CASES + 8).map((i) => rig.connect(2 + i, { expresslane: false }));
    const pairs = clients.flatMap((one) =>
      clients.filter((two) => two.slot === one.slot + CASES && entryOf(one) !== entryOf(two)).map((two) => [one, two]),
    );
    const pair = pairs[0];
    const recorded = pair.map((client) => {
      const all = fresh(client, 60);
      deliver(
        rig,
        client,
        all.map(({ datagram }) => datagram),
      );
      return all;
    });
    for (const which of [0, 1, 0, 1]) {
      suspect(rig, pair[which], replays(recorded[which]));
      const [place, other] = [told(rig, pair[which]), told(rig, pair[1 - which])];
      expect(place?.block).toBe(BigInt((pair[which].slot % CASES) + 1));
      expect(other).toMatchObject({ until: 0n, block: 0n });
      for (const client of [...pair, ...pair]) carries(rig, client, 50, shuffled);
    }
  });
});

describe.skipIf(refusal !== undefined)('floods that no number tells', () => {
  it('of plaintext under a session’s id come to the suspects’ door, and the session goes on', () => {
    const rig = start();
    const client = rig.connect(2, { expresslane: false });
    carries(rig, client, 10);
    const header = encodeHeader({ version: VERSION_1_3, aggressive: false, expresslane: false, sessionId: client.id });
    const plain = concat(header, bytesOf('u8', 22, 'u16', 0xfefd, 'u16', 0, 'u48', 9, 'u16', 40), new Uint8Array(40));
    flood(
      rig,
      client,
      () => plain,
      () => rig.ports('suspectsIn') > 0,
    );
    carries(rig, client, 200, shuffled);
    expect(rig.ports('socketDrops')).toBe(0);
  });

  it('of ids that name nobody come to it too', () => {
    const rig = start();
    const client = rig.connect(2, { expresslane: false });
    const stranger = new Socket('127.0.0.9');
    closing.push(() => stranger.close());
    const from = { send: (burst: Uint8Array[]) => stranger.send(rig.address, burst) };
    const unknown = () => concat(Uint8Array.of(0x48, 0x65, 1, 3, 0, 1, 0, 0), randomBytes(80));
    flood(rig, from, unknown, () => rig.ports('suspectsIn') > 0);
    carries(rig, client, 200, shuffled);
  });
});
