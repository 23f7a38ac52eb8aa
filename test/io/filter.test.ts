/** The filter of replays on real sockets, its table written by the test: what arrives is what the model lets through, and the rest is counted. */
import { deepEqual, equal } from 'node:assert/strict';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { arriving, bytesOf, type Datagram, indexOf, MOST, openFiltered, type Told, tagOf } from './filtered.ts';
import { addon, createPool, filterRefusal, loopback, openSocket, openUdpPort, PACKET_BLOCK } from './rig.ts';

const FAR = 2n ** 22n;

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0).reverse()) close();
});

const refusal = filterRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

/** Two sockets for sessions, their six doors, and the map under their filters; each has a port of its own. */
function open(gro = true) {
  const { ends, map, close } = openFiltered(2, { gro });
  closing.push(close);
  return {
    ends,
    dropped: (shard: number) => map.dropped(shard),
    garbage: (shard: number) => map.garbage(shard),
    tell: (shard: number, told: Told) => map.tell(shard, told),
    clear: () => map.clear(),
  };
}

const ID = 0x0123_4567_89ab_cdefn;

/** Four datagrams of 60 bytes at once, the second of which is new where the floor is 1,000. */
function sendTrain(portNumber: number): void {
  const socket = openSocket();
  const sender = openUdpPort('epoll', socket);
  const out = createPool(PACKET_BLOCK, 8);
  const train = new Uint8Array(240);
  for (const [i, counter] of [5n, 2000n, 6n, 7n].entries()) train.set(bytesOf({ id: ID, counter }), 60 * i);
  addon.put(out.handle, 0, 0, loopback(portNumber), train);
  out.batch.segmentSize[0] = 60;
  equal(addon.udpTransmit(sender.port, out.handle), 0);
  addon.closePort(sender.port);
  addon.closeDescriptor(socket.descriptor);
}

describe.skipIf(refusal !== undefined)('filterUdp', () => {
  it('drops lone Expresslane datagrams below the floor of their id, and counts them for their socket', () => {
    const { ends, tell, dropped } = open();
    tell(1, { id: ID, tag: tagOf(ID), floor: 1000n });
    const datagrams = [999n, 1000n, 0n, 1n, 1000n + FAR - 1n, 100_000n].map((counter) => bytesOf({ id: ID, counter }));
    deepEqual(arriving(ends[1], datagrams), [1, 4, 5]);
    deepEqual(arriving(ends[0], datagrams), [0, 1, 2, 3, 4, 5]); // its part of the map is empty
    deepEqual([dropped(0), dropped(1)], [0, 3]);
  });

  it('lets one in 256 of the datagrams through whose number is far above the floor', () => {
    const { ends, tell, dropped } = open();
    tell(1, { id: ID, tag: tagOf(ID), floor: 1000n });
    const numbers = [1000n + FAR, 1000n + FAR + 1n, 1n << 32n, 2n ** 63n, 2n ** 64n - 1n];
    const datagrams = Array.from({ length: 250 }, (_, i) =>
      bytesOf({ id: ID, counter: numbers[i % numbers.length], length: 56 }),
    );
    let passed = 0;
    for (let round = 0; round < 40; round++) passed += arriving(ends[1], datagrams).length;
    equal(passed + dropped(1), 10_000);
    expect(passed).toBeGreaterThan(4); // 39 is likely; fewer than 5 or more than 100 less than once in 10^11 runs
    expect(passed).toBeLessThan(101);
  });

  it('knows no number too far ahead where it has been told of none', () => {
    const { ends, tell, dropped } = open();
    const untagged = ID & (2n ** 48n - 1n);
    tell(0, { id: untagged, tag: 0n, floor: 0n });
    const far = Array.from({ length: 8 }, () => bytesOf({ id: untagged, counter: 2n ** 64n - 1n }));
    equal(arriving(ends[0], far).length, 8);
    tell(0, { id: ID, tag: tagOf(ID), floor: MOST }); // and where no higher floor can be told
    equal(arriving(ends[0], Array(8).fill(bytesOf({ id: ID, counter: 2n ** 64n - 1n }))).length, 8);
    equal(dropped(0), 0);
  });

  it('lets through whatever it is not sure of', () => {
    const { ends, tell, dropped } = open();
    tell(0, { id: ID, tag: tagOf(ID), floor: MOST });
    const old = { id: ID, counter: 5n };
    const sure = [old, { ...old, lane: 255 }, { ...old, length: 56 }, { ...old, length: 1400 }];
    const unsure = [
      { ...old, lane: 0 }, // a DTLS record
      { ...old, magic: 0x6548 },
      { ...old, magic: 0x4866 },
      { ...old, length: 55 }, // too short, which somebody counts
      { ...old, length: 16 },
      { ...old, length: 7 },
      { ...old, id: ID ^ 1n },
      { ...old, id: ID ^ (1n << 63n) },
      { ...old, id: ID ^ (1n << 8n) },
      { ...old, counter: MOST },
    ];
    deepEqual(arriving(ends[0], sure.map(bytesOf)), []);
    deepEqual(
      arriving(ends[0], unsure.map(bytesOf)),
      unsure.map((_, i) => i),
    );
    equal(dropped(0), sure.length);
  });

  it('takes nobody else’s floor while one session takes the place of another: id and tag must both agree', () => {
    const { ends, tell, dropped } = open();
    tell(0, { id: ID, tag: tagOf(ID) ^ 1n, floor: 1000n });
    deepEqual(arriving(ends[0], [bytesOf({ id: ID, counter: 5n })]), [0]);
    equal(dropped(0), 0);
  });

  it('does to random datagrams what the model says', () => {
    const { ends, tell, clear, dropped } = open();
    const ids = fc.oneof(
      fc.constantFrom(0n, 2n ** 64n - 1n, ID, ID ^ 1n, ID ^ (1n << 40n), ID ^ (1n << 50n)),
      fc.bigInt(0n, 2n ** 64n - 1n),
    );
    const numbers = fc.oneof(fc.bigInt(0n, 20_000n), fc.bigInt(0n, MOST), fc.constantFrom(MOST, MOST - 1n));
    const told = fc.array(fc.record({ id: ids, floor: numbers, honest: fc.constantFrom(true, true, false) }), {
      maxLength: 8,
    });
    const sent = fc.array(
      fc.record({
        from: fc.nat(7),
        id: ids,
        off: fc.oneof(fc.bigInt(-2n, 2n), fc.bigInt(FAR - 2n, FAR + 2n)),
        counter: fc.oneof(numbers, fc.bigInt(0n, 2n ** 64n - 1n)),
        near: fc.boolean(),
        lane: fc.constantFrom(1, 1, 1, 0),
        length: fc.constantFrom(24, 55, 56, 60, 1200),
      }),
      { maxLength: 24 },
    );
    fc.assert(
      fc.property(told, sent, (tellings, wishes) => {
        clear();
        const table = new Map<number, Told>();
        for (const { id, floor, honest } of tellings) {
          const each = { id, floor, tag: honest ? tagOf(id) : tagOf(id) ^ 5n };
          tell(0, each);
          table.set(indexOf(id), each);
        }
        const known = [...table.values()];
        const datagrams = wishes.map((wish): Datagram & { counter: bigint; lane: number; length: number } => {
          const about = wish.near ? known[wish.from] : undefined;
          const counter = about ? about.floor + wish.off : wish.counter;
          return { ...wish, id: about?.id ?? wish.id, counter: counter < 0n ? 0n : counter };
        });
        const passes = datagrams.map(({ id, counter, lane, length }) => {
          const entry = table.get(indexOf(id));
          const sure = entry?.id === id && entry.tag === tagOf(id) && lane !== 0 && length >= 56;
          if (!sure || entry.floor === 0n) return 'always';
          const far = entry.floor + FAR <= MOST ? entry.floor + FAR : 2n ** 64n;
          return counter < entry.floor ? 'never' : counter >= far ? 'seldom' : 'always';
        });
        const before = dropped(0);
        const came = arriving(ends[0], datagrams.map(bytesOf));
        deepEqual(
          came.filter((i) => passes[i] !== 'seldom'),
          passes.flatMap((each, i) => (each === 'always' ? [i] : [])),
        );
        equal(dropped(0) - before, datagrams.length - came.length);
      }),
      { numRuns: 300 },
    );
  });

  it('lets trains through whole: it has looked at the first of them only', () => {
    const { ends, tell, dropped } = open();
    tell(0, { id: ID, tag: tagOf(ID), floor: 1000n });
    sendTrain(ends[0].portNumber);
    addon.wait(ends[0].port, 0);
    equal(addon.udpReceive(ends[0].port, 8), 1);
    deepEqual([ends[0].trains.batch.length[0], dropped(0)], [240, 0]);
  });

  it('drops what is no Lightway at the doors of strangers, and counts it for their shard', () => {
    const { ends, garbage, dropped } = open();
    const sound = bytesOf({ id: 0n, counter: 0n, lane: 0 });
    const wrong = [
      { magic: 0 },
      { magic: 0x6548 },
      { magic: 0x4866 },
      { magic: 0x4965, length: 1400 },
      { magic: 1, length: 16 },
    ].map((each) => bytesOf({ id: ID, counter: 0n, ...each }));
    const short = [15, 7].map((length) => bytesOf({ id: ID, counter: 0n, magic: 0, length })); // somebody counts that
    deepEqual(arriving(ends[5], [sound, ...wrong, ...short]), [0, 6, 7]);
    deepEqual([garbage(0), garbage(1), dropped(1)], [0, 5, 0]);
    deepEqual(arriving(ends[1], wrong), [0, 1, 2, 3, 4]); // no door
  });

  it('judges the datagrams of a train one by one where the socket takes no trains', () => {
    const { ends, tell, dropped } = open(false);
    tell(0, { id: ID, tag: tagOf(ID), floor: 1000n });
    sendTrain(ends[0].portNumber);
    addon.wait(ends[0].port, 0);
    equal(addon.udpReceive(ends[0].port, 8), 1);
    deepEqual([ends[0].trains.batch.length[0], dropped(0)], [60, 3]);
  });
});

describe('filterUdp', () => {
  it('says what is wrong with its arguments', () => {
    const refused = (sessions: number[], strangers: number[], entries: number, pattern: RegExp) => {
      try {
        addon.filterUdp(sessions, strangers, entries);
      } catch (error) {
        return void equal(pattern.test((error as Error).message), true, (error as Error).message);
      }
      throw new Error('was not refused');
    };
    refused([], [], 16, /must name a socket/);
    refused([0], [1, 2], 16, /three times as many as sessions/);
    refused([0], [], 17, /power of two/);
    refused([0], [], 8, /from 16 to/);
    refused(['x' as never], [], 16, /sessions/);
  });
});
