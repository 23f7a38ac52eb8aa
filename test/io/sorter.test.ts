/**
 * The group's program where the kernel takes eBPF, on real SO_REUSEPORT groups: it sorts as the classic one does, and puts aside what suspects send and
 * nothing can judge by a number, and only that.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import fc from 'fast-check';
import { afterEach, describe, it } from 'vitest';
import {
  bitOf,
  bytesOf,
  type End,
  type Filtered,
  fromNow,
  indexOf,
  openFiltered,
  type Told,
  tagOf,
} from './filtered.ts';
import { addon, createPool, filterRefusal, loopback, openSocket, openUdpPort, PACKET_BLOCK, type Pool } from './rig.ts';

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0).reverse()) close();
});

const refusal = filterRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

type Address = '127.0.0.1' | '::1';
const GROUPS = [1, 2, 3].flatMap((shards) =>
  (['127.0.0.1', '::1'] as const).map((address): [number, Address] => [shards, address]),
);

/** Clients of several port numbers: where strangers come to goes by that. */
function openClients(address: Address, count: number) {
  return Array.from({ length: count }, () => {
    const socket = openSocket({ address });
    const { port } = openUdpPort('epoll', socket);
    closing.push(() => addon.closeDescriptor(socket.descriptor));
    closing.push(() => addon.closePort(port));
    const out = createPool(PACKET_BLOCK, 64);
    const send = (portNumber: number, datagrams: readonly Uint8Array[], segmentSize = 0) => {
      for (const bytes of datagrams)
        addon.put(out.handle, 0, 0, loopback(portNumber, address === '::1' ? 6 : 4), bytes);
      if (segmentSize > 0) out.batch.segmentSize[0] = segmentSize;
      equal(addon.udpTransmit(port, out.handle), 0);
      addon.clear(out.handle);
    };
    return { send };
  });
}

type Clients = ReturnType<typeof openClients>;

/** A group under the classic program. */
function openClassic(
  shards: number,
  address: Address,
): { ends: { port: End['port']; trains: Pool }[]; portNumber: number } {
  const first = openSocket({ reusePort: true, address });
  const sockets = [first];
  while (sockets.length < 4 * shards)
    sockets.push(openSocket({ reusePort: true, portNumber: first.portNumber, address }));
  addon.steerUdp(first.descriptor, shards, true);
  const ends = sockets.map((socket) => openUdpPort('epoll', socket));
  for (const { descriptor } of sockets) closing.push(() => addon.closeDescriptor(descriptor));
  for (const { port } of ends) closing.push(() => addon.closePort(port));
  return { ends, portNumber: first.portNumber };
}

function openSorted(shards: number, address: Address = '127.0.0.1'): Filtered {
  const sorted = openFiltered(shards, { address, group: true });
  closing.push(sorted.close);
  return sorted;
}

/** What came to each socket, in order. */
function received(ends: readonly { port: End['port']; trains: Pool }[]): string[][] {
  return ends.map(({ port, trains }) => {
    const found: string[] = [];
    const { batch, handle } = trains;
    while (addon.wait(port, 0) & 1) {
      addon.udpReceive(port, 256);
      for (let i = 0; i < batch.header[0]; i++)
        found.push(
          Buffer.from(batch.bytes.subarray(batch.offset[i], batch.offset[i] + batch.length[i])).toString('hex'),
        );
      addon.clear(handle);
    }
    return found;
  });
}

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const idOf = (datagram: string) => Buffer.from(datagram, 'hex').readBigUInt64LE(8);
const isGarbage = (datagram: string) => datagram.length >= 32 && !datagram.startsWith('4865');

/** A handshake message in plaintext (RFC 9147 §4.1, §5.2), as far as its number and a little further. */
function handshake(message: number, length = 40): Uint8Array {
  const record = new Uint8Array(60);
  record.set([22, 0xfe, 0xfd]);
  record.set([1, 0, 0, 28, message >> 8, message & 255], 13);
  return record.slice(0, length);
}

const ONES = 2n ** 64n - 1n;
const KNOWN = [0x0123_4567_89ab_cd00n, 0x8888_0000_1111_2201n, 0x77n << 56n, 0xfedc_ba98_7654_3203n];
const ids = fc.oneof(
  fc.constantFrom(0n, 0n, ONES, 1n, 1n << 32n, ONES - 1n, ONES << 8n, 0xffff_ffffn, 0xffff_ffffn << 32n, ...KNOWN),
  fc.bigInt(0n, ONES),
);
const records = fc.oneof(
  fc.constantFrom(0, 1, 2, 255, 256).map((message) => handshake(message)),
  fc.integer({ min: 1, max: 24 }).map((length) => handshake(0, length)),
  fc
    .constantFrom(0x2c, 0x2d, 0x2e, 0x2f, 0x28, 0x30, 0x20, 0x3c, 20, 21, 23)
    .map((first) => Uint8Array.of(first, 0, 9, 0, 0, 0, 0, 0, 0)),
  fc.uint8Array({ maxLength: 60 }),
);
const lightway = fc
  .record({
    id: ids,
    lane: fc.constantFrom(0, 0, 1, 255),
    magic: fc.constantFrom(...Array(9).fill(0x4865), 0x4965),
    record: records,
  })
  .map(bytesOf);
const datagrams = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: lightway },
    {
      weight: 1,
      arbitrary: fc.tuple(lightway, fc.integer({ min: 1, max: 24 })).map(([all, length]) => all.slice(0, length)),
    },
    { weight: 1, arbitrary: fc.uint8Array({ minLength: 1, maxLength: 80 }) },
  ),
  { minLength: 1, maxLength: 40 },
);

/** Sends the same to both groups, from the same sockets. @returns what came to each, of the classic group first */
function compared(
  clients: Clients,
  classic: ReturnType<typeof openClassic>,
  sorted: Filtered,
  all: readonly Uint8Array[],
) {
  for (const [i, { send }] of clients.entries()) {
    const some = all.filter((_, at) => at % clients.length === i);
    send(classic.portNumber, some);
    send(sorted.ends[0].portNumber, some);
  }
  return [received(classic.ends), received(sorted.ends)];
}

describe.skipIf(refusal !== undefined)('the sorter of a group', () => {
  it.each(GROUPS)('of %i shards on %s brings to each socket what the classic program does', (shards, address) => {
    const classic = openClassic(shards, address);
    const sorted = openSorted(shards, address);
    const clients = openClients(address, 5);
    const came = new Set<number>();
    const property = fc.property(datagrams, (all) => {
      const garbage = () => Array.from({ length: shards }, (_, shard) => sorted.map.garbage(shard));
      const before = garbage();
      const [expected, actual] = compared(clients, classic, sorted, all);
      const dropped = garbage().map((count, shard) => count - before[shard]);
      deepEqual(
        actual,
        expected.map((each) => each.filter((datagram) => !isGarbage(datagram))),
      );
      deepEqual(
        dropped,
        expected.slice(2 * shards, 3 * shards).map((each) => each.filter(isGarbage).length),
      );
      for (const [socket, each] of expected.entries()) if (each.length > 0) came.add(Math.floor(socket / shards));
    });
    fc.assert(property, { numRuns: 80 });
    deepEqual([...came].sort(), [0, 1, 2]); // and none to the suspects' sockets
  });

  it.each(GROUPS)('of %i shards on %s puts aside what the model does', (shards, address) => {
    const classic = openClassic(shards, address);
    const sorted = openSorted(shards, address);
    const clients = openClients(address, 3);
    const untils = fc.constantFrom('never', 'past', 'ahead', 'ahead');
    const at = { never: () => 0n, past: () => fromNow(-0.001), ahead: () => fromNow(1000) };
    const told = fc.array(
      fc.record({
        id: fc.constantFrom(...KNOWN),
        until: untils,
        floor: fc.constantFrom(0n, 1n),
        honest: fc.constantFrom(true, true, true, false),
      }),
    );
    let aside = 0;
    const property = fc.property(
      told,
      fc.array(fc.tuple(fc.constantFrom(...KNOWN), fc.nat(1))),
      fc.array(untils, { minLength: shards, maxLength: shards }),
      datagrams,
      (tellings, ids, heads, all) => {
        sorted.map.clear();
        for (const [id, half] of ids) sorted.map.tellOfId(half, id);
        const isThere = (id: bigint) => ids.some(([each]) => bitOf(each) === bitOf(id));
        const entries = new Map<number, (typeof tellings)[number]>();
        for (const each of tellings) {
          const { id, until, floor, honest } = each;
          const entry: Told = { id, floor, until: at[until](), tag: honest ? tagOf(id) : tagOf(id) ^ 1n };
          for (let shard = 0; shard < shards; shard++) sorted.map.tell(shard, entry);
          entries.set(indexOf(id), each);
        }
        for (const [shard, until] of heads.entries()) sorted.map.tellOfNobody(shard, at[until]());
        const isSet = (datagram: string, shard: number) => {
          const id = idOf(datagram);
          const entry = entries.get(indexOf(id));
          if (entry?.id !== id || !entry.honest) return heads[shard] === 'ahead' && !isThere(id);
          if (entry.until !== 'ahead') return false;
          const bytes = datagram.length / 2;
          if (bytes < 37) return true; // nothing is so short
          const [lane, first] = [
            Number.parseInt(datagram.slice(10, 12), 16),
            Number.parseInt(datagram.slice(32, 34), 16),
          ];
          return lane === 0 ? (first & 0xfc) !== 0x2c : bytes < 56 || entry.floor === 0n;
        };
        // what is sure to be refused is dropped at the socket of its session (test/io/suspects.test.ts)
        const quiet = all.filter(
          (bytes) => bytes.length < 24 || bytes[5] === 0 || !KNOWN.includes(idOf(hex(bytes))) || bytes.length < 56,
        );
        const [before, actual] = compared(clients, classic, sorted, quiet);
        const expected = before.map((each) => each.filter((datagram) => !isGarbage(datagram)));
        for (let shard = 0; shard < shards; shard++) {
          const own = expected[shard];
          expected[shard] = own.filter((datagram) => !isSet(datagram, shard));
          expected[3 * shards + shard] = own.filter((datagram) => isSet(datagram, shard));
          aside += expected[3 * shards + shard].length;
        }
        deepEqual(actual, expected);
      },
    );
    fc.assert(property, { numRuns: 150 });
    ok(aside > 100, `${aside}`);
  });

  it('leaves trains of suspects where they are, whole', () => {
    const sorted = openSorted(2);
    const [client] = openClients('127.0.0.1', 1);
    const [id] = KNOWN;
    const known = bytesOf({ id, lane: 1 });
    const plain = bytesOf({ id, lane: 0, record: new Uint8Array(44).fill(22) });
    const unknown = bytesOf({ id: 0x55n << 56n });
    for (let shard = 0; shard < 2; shard++) {
      sorted.map.tell(shard, { id, floor: 0n, until: fromNow(1000) });
      sorted.map.tellOfNobody(shard, fromNow(1000));
    }
    const own = Number(id & 255n) % 2;
    for (const [datagram, shard] of [
      [known, own],
      [plain, own],
      [unknown, 0],
    ] as const) {
      const train = Buffer.concat([datagram, datagram, datagram]);
      client.send(sorted.ends[0].portNumber, [train], datagram.length);
      client.send(sorted.ends[0].portNumber, [datagram]);
      const expected: string[][] = sorted.ends.map(() => []);
      expected[shard] = [hex(train)];
      expected[6 + shard] = [hex(datagram)];
      deepEqual(received(sorted.ends), expected);
    }
  });

  it('looks at the shard’s own part of the map', () => {
    const sorted = openSorted(3);
    const [client] = openClients('127.0.0.1', 1);
    const mine = bytesOf({ id: 0x0400n | (7n << 56n) | 1n }); // of shard 1
    const portNumber = sorted.ends[0].portNumber;
    const lands = (): number => {
      client.send(portNumber, [mine]);
      return received(sorted.ends).findIndex((each) => each.length > 0);
    };
    for (const shard of [0, 2]) {
      sorted.map.tell(shard, { id: idOf(hex(mine)), floor: 0n, until: fromNow(1000) });
      sorted.map.tellOfNobody(shard, fromNow(1000));
    }
    equal(lands(), 1);
    sorted.map.tellOfNobody(1, fromNow(1000));
    equal(lands(), 10);
    sorted.map.tell(1, { id: idOf(hex(mine)), floor: 0n });
    equal(lands(), 1); // somebody, and no suspect
    sorted.map.tell(1, { id: idOf(hex(mine)), floor: 0n, until: fromNow(1000) });
    equal(lands(), 10);
    sorted.map.tell(1, { id: idOf(hex(mine)), floor: 1n, until: fromNow(1000) });
    equal(lands(), -1); // it has a floor now, and is below it
  });
});
