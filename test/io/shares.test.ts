/**
 * Shares of a shard's socket: how many lone datagrams of one session the kernel lets in is what the model says; over a map that the test writes, and under
 * real ports, which count what they take.
 */
import { deepEqual, equal } from 'node:assert/strict';
import fc from 'fast-check';
import { afterEach, describe, it } from 'vitest';
import { PUBLIC_SLOT_BYTES, SECRET_SLOT_BYTES } from '../../src/datapath/layout.ts';
import { bytesOf, type End, FilterMap, openFiltered, tagOf } from './filtered.ts';
import {
  addon,
  backends,
  createPool,
  FEWEST_ENTRIES,
  filterRefusal,
  type Io,
  loopback,
  openSocket,
  openUdpPort,
  type Pool,
} from './rig.ts';

const BUFFER_PER_DATAGRAM = 2_560;
const [LEAST, MOST] = [16, 2_048];
/** As many places of 40 as one session alone may have. */
const SMALL = { bufferBytes: 20 * BUFFER_PER_DATAGRAM, places: 40, share: 32 };

const refusal = filterRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0).reverse()) close();
});

/** Each with an entry of its own. */
const idOf = (session: number) => 0xabcd_0000_0000_0005n + BigInt(session << 8);
const datagrams = (session: number, count: number) =>
  Array.from({ length: count }, () => bytesOf({ id: idOf(session) }));

/** A socket that sends to one port. */
class Sender {
  readonly #to: Uint8Array;
  readonly #out = createPool(2_048, 64);
  readonly #port;

  constructor(portNumber: number) {
    const socket = openSocket();
    this.#to = loopback(portNumber);
    this.#port = openUdpPort('epoll', socket).port;
    closing.push(() => addon.closeDescriptor(socket.descriptor));
    closing.push(() => addon.closePort(this.#port));
  }

  /** One by one. */
  send(all: readonly Uint8Array[]): void {
    for (const [i, bytes] of all.entries()) {
      addon.put(this.#out.handle, 0, 0, this.#to, bytes);
      if (i % 64 === 63 || i === all.length - 1) this.#leave();
    }
  }

  /** At once. */
  sendTrain(all: readonly Uint8Array[]): void {
    addon.put(this.#out.handle, 0, 0, this.#to, Buffer.concat(all));
    this.#out.batch.segmentSize[0] = all[0].length;
    this.#leave();
  }

  #leave(): void {
    equal(addon.udpTransmit(this.#port, this.#out.handle), 0);
    addon.clear(this.#out.handle);
  }
}

/** What comes, up to so many, by session. */
function take({ port, trains }: Pick<End, 'port' | 'trains'>, most = Number.POSITIVE_INFINITY, waitUs = 0): number[] {
  const found: number[] = [];
  const { batch } = trains;
  while (found.length < most && addon.wait(port, waitUs) & 1) {
    addon.udpReceive(port, Math.min(64, most - found.length));
    for (let i = 0; i < batch.header[0]; i++) found.push(batch.bytes[batch.offset[i] + 9] & 15);
    addon.clear(trains.handle);
  }
  return found;
}

/** One socket, whose map the test writes, and sessions 0, 1 … that it knows. */
function open(sessions: number, bufferBytes = SMALL.bufferBytes) {
  const { ends, map, close } = openFiltered(1, { bufferBytes, doors: 0 });
  closing.push(close);
  for (let session = 0; session < sessions; session++) map.tell(0, { id: idOf(session), floor: 0n });
  const sender = new Sender(ends[0].portNumber);
  const send = (session: number, count: number) => sender.send(datagrams(session, count));
  return { end: ends[0], map, sender, send };
}

interface Count {
  put: number;
  taken: number;
  epoch: number;
}

/** What the program counts: of the queue, and of each session. */
class Model {
  readonly #places: number;
  readonly #head: Count = { put: 0, taken: 0, epoch: 0 };
  readonly #sessions: Count[];
  readonly queue: number[] = [];
  beyond = 0;

  constructor(sessions: number, places: number) {
    this.#places = places;
    this.#sessions = Array.from({ length: sessions }, () => ({ put: 0, taken: 0, epoch: 0 }));
  }

  send(session: number): void {
    const [head, own] = [this.#head, this.#sessions[session]];
    if (own.epoch !== head.epoch) Object.assign(own, { put: own.taken, epoch: head.epoch });
    const waits = ({ put, taken }: Count) => Math.max(0, put - taken);
    if (waits(own) >= 4 * (this.#places - waits(head))) return void this.beyond++;
    own.put++;
    head.put++;
    this.queue.push(session);
  }

  take(count: number): number[] {
    const taken = this.queue.splice(0, count);
    for (const session of taken) this.#sessions[session].taken++;
    this.#head.taken += taken.length;
    return taken;
  }

  /** Everything was received, and nobody counted it. */
  emptied(): void {
    this.queue.length = 0;
    this.#head.taken = this.#head.put;
    this.#head.epoch++;
  }
}

describe.skipIf(refusal !== undefined)('the program of a socket', () => {
  it.each([
    [8 * BUFFER_PER_DATAGRAM, LEAST, 13],
    [SMALL.bufferBytes, SMALL.places, SMALL.share],
    [4 << 20, MOST, 1_639],
  ])(
    'lets in of one session, with a buffer of twice %i bytes and so %i places, %i datagrams',
    (bytes, places, share) => {
      const { end, map, send } = open(1, bytes);
      const model = new Model(1, places);
      for (let i = 0; i < share + 9; i++) model.send(0);
      send(0, share + 9);
      deepEqual([model.queue.length, model.beyond], [share, 9]);
      equal(map.beyond(0), 9);
      deepEqual(map.counts(0), { put: share, taken: 0, epoch: 0 });
      equal(take(end).length, share);
      equal(map.dropped(0), 0);
    },
  );

  it('lets in who comes next, when one has all that it may have', () => {
    const { end, map, send } = open(3);
    send(0, 50);
    send(1, 50);
    send(2, 50);
    const came = take(end);
    const each = [0, 1, 2].map((session) => came.filter((one) => one === session).length);
    deepEqual(each, [SMALL.share, 7, 1]); // four times of what is free: 8, 1, 0
    equal(map.beyond(0), 150 - came.length);
  });

  it('lets all in again when the socket was found empty, and forgets what an entry counted before', () => {
    const { end, map, send } = open(2);
    for (let round = 1; round < 4; round++) {
      send(0, 40);
      equal(take(end).length, SMALL.share);
      equal(map.beyond(0), 8 * round);
      map.emptied();
    }
    send(1, 3);
    deepEqual(map.counts(0, idOf(0)), { put: SMALL.share, taken: 0, epoch: 2 }); // looked at when its session sends again
    deepEqual(map.counts(0, idOf(1)), { put: 3, taken: 0, epoch: 3 });
  });

  it('lets in as many as were taken', () => {
    const { end, map, send } = open(2);
    send(0, SMALL.share);
    for (let round = 0; round < 50; round++) {
      deepEqual(take(end, 5), Array(5).fill(0));
      map.take(0, idOf(0), 5);
      send(0, 6);
      equal(map.beyond(0), round + 1);
    }
  });

  it('does not count trains, nor ids that nobody has, nor those of an entry whose tag is another’s', () => {
    const { end, map, send, sender } = open(1);
    map.tell(0, { id: idOf(1), floor: 0n, tag: tagOf(idOf(1)) ^ 1n });
    for (let i = 0; i < 10; i++) sender.sendTrain(datagrams(0, 4));
    send(1, SMALL.share);
    send(2, SMALL.share);
    deepEqual([map.counts(0), map.beyond(0)], [{ put: 0, taken: 0, epoch: 0 }, 0]);
    equal(take(end).length, 10 + 2 * SMALL.share);
    send(0, 40);
    equal(take(end).length, SMALL.share);
  });

  it('takes what has been taken before it was counted for nothing', () => {
    const { end, map, send } = open(1);
    map.take(0, idOf(0), 20);
    send(0, 60);
    equal(take(end).length, 60 - map.beyond(0));
    deepEqual(map.counts(0), { put: SMALL.share + 20, taken: 20, epoch: 0 });
  });

  it('does to random sequences what the model says', () => {
    const sends = fc.record({ session: fc.nat(2), count: fc.integer({ min: 1, max: 48 }) });
    const takes = fc.record({ taken: fc.integer({ min: 1, max: 40 }) });
    const steps = fc.oneof(
      { weight: 6, arbitrary: sends },
      { weight: 4, arbitrary: takes },
      { weight: 1, arbitrary: fc.constant('emptied' as const) },
    );
    const { end, map, send } = open(3);
    fc.assert(
      fc.property(fc.array(steps, { maxLength: 24 }), (sequence) => {
        map.clear();
        map.emptied();
        for (const session of [0, 1, 2]) map.tell(0, { id: idOf(session), floor: 0n });
        const model = new Model(3, SMALL.places);
        model.emptied(); // so that no entry is of this epoch
        const before = map.beyond(0);
        for (const step of sequence) {
          if (step === 'emptied') {
            deepEqual(take(end), model.queue);
            map.emptied();
            model.emptied();
          } else if ('taken' in step) {
            const expected = model.take(step.taken);
            deepEqual(take(end, step.taken), expected);
            for (const session of expected) map.take(0, idOf(session), 1);
          } else {
            for (let i = 0; i < step.count; i++) model.send(step.session);
            send(step.session, step.count);
          }
          equal(map.beyond(0) - before, model.beyond);
        }
        deepEqual(take(end), model.queue);
      }),
      { numRuns: 200 },
    );
  });
});

/** A shard's port over its socket, which counts what it takes, and the sessions that the kernel knows. */
function openCounting(io: Io, sessions: number) {
  const socket = openSocket({ bufferBytes: SMALL.bufferBytes });
  const { map: descriptor } = addon.filterUdp([socket.descriptor], [], FEWEST_ENTRIES);
  const memory = [
    addon.createMemfd('public', PUBLIC_SLOT_BYTES),
    addon.createMemfd('secret', SECRET_SLOT_BYTES),
  ] as const;
  const { handle: table } = addon.openTable({ public: memory[0], secret: memory[1], slots: 1 });
  const index = addon.createIndex(1).handle;
  const aead = addon.about().aead[0];
  const lanes = addon.createLanes({ table, index, shard: 0, shards: 1, generation: 1, aead }).handle;
  addon.attachFloors(lanes, descriptor, FEWEST_ENTRIES, 0);
  const { port, trains } = openUdpPort(io, socket);
  addon.countWithoutFilters(port, lanes);
  addon.wait(port, 0); // nothing is there: from now on what comes is judged
  const map = new FilterMap(descriptor, 1);
  for (const each of [descriptor, ...memory]) addon.closeDescriptor(each);
  closing.push(() => addon.closeDescriptor(socket.descriptor));
  closing.push(() => addon.closePort(port));
  for (let session = 0; session < sessions; session++) map.tell(0, { id: idOf(session), floor: 0n });
  const sender = new Sender(socket.portNumber);
  const send = (session: number, count: number) => sender.send(datagrams(session, count));
  return { end: { port, trains }, map, sender, send };
}

const counted = ({ port }: { port: Parameters<typeof addon.portCounters>[0]; trains: Pool }) => {
  const { udpBeyondShare, socketDrops, filtered = 0 } = addon.portCounters(port);
  return { udpBeyondShare, socketDrops, filtered };
};

const LOOK_US = 20_000;

describe.skipIf(refusal !== undefined).each(backends())('a port that counts, over %s', (io) => {
  it('lets all in again once it has found nothing, and counts what was beyond apart from what the socket dropped', () => {
    const { end, send } = openCounting(io, 2);
    for (let round = 1; round < 6; round++) {
      send(0, SMALL.share + 10);
      send(1, 4);
      const came = take(end, Number.POSITIVE_INFINITY, LOOK_US);
      deepEqual(came, [...Array(SMALL.share).fill(0), ...Array(4).fill(1)]);
      deepEqual(counted(end), { udpBeyondShare: 10 * round, socketDrops: 0, filtered: 0 });
    }
  });

  it('loses none of thousands that come a vector at a time, though it never finds nothing', () => {
    const { end, map, send } = openCounting(io, 3);
    const { epoch } = map.counts(0);
    for (let vector = 0; vector < 150; vector++) {
      const sessions = [0, vector % 3, 0];
      for (const session of sessions) send(session, 8);
      deepEqual(
        take(end, 24, 10 * LOOK_US),
        sessions.flatMap((session) => Array<number>(8).fill(session)),
      );
    }
    deepEqual(map.counts(0), { put: 3_600, taken: 3_600, epoch });
    equal(counted(end).udpBeyondShare, 0);
  });

  it('counts as the kernel does: no trains, no ids that nobody has, none that was taken back', () => {
    const { end, map, send, sender } = openCounting(io, 1);
    const before = map.counts(0);
    map.tell(0, { id: idOf(1), floor: 0n, tag: tagOf(idOf(1)) ^ 1n });
    sender.sendTrain(datagrams(0, 4));
    send(1, 5);
    send(2, 5);
    sender.send([bytesOf({ id: idOf(0), length: 23 }), bytesOf({ id: idOf(0), magic: 0x6548 })]);
    equal(take(end, 13, LOOK_US).length, 13);
    deepEqual(map.counts(0), before);
    sender.send([bytesOf({ id: idOf(0), length: 24 })]);
    equal(take(end, 1, LOOK_US).length, 1);
    deepEqual(map.counts(0), { put: before.put + 1, taken: before.taken + 1, epoch: before.epoch });
  });

  it('forgets what the kernel counted and had no room for, whatever else filled the socket', () => {
    const { end, map, send, sender } = openCounting(io, 1);
    const nobodys = (length: number) => Array.from({ length: 100 }, () => bytesOf({ id: idOf(5), length }));
    sender.send([...nobodys(1_900), ...nobodys(60)]);
    while (map.counts(0).put < SMALL.share) send(0, 1);
    equal(take(end, Number.POSITIVE_INFINITY, LOOK_US).includes(0), false);
    send(0, SMALL.share);
    equal(take(end, Number.POSITIVE_INFINITY, LOOK_US).length, SMALL.share);
  });

  it('judges nobody once the socket has overflowed, until it finds it empty', () => {
    const { end, map, send, sender } = openCounting(io, 1);
    const nobodys = (count: number, length: number) =>
      sender.send(Array.from({ length: count }, () => bytesOf({ id: idOf(5), length })));
    nobodys(100, 1_900);
    nobodys(100, 60);
    while (map.counts(0).put < SMALL.share) send(0, 1); // which the kernel has no room for
    let came = 0;
    for (let look = 0; look < 5_000 && came === 0; look++) {
      came = take(end, 4, LOOK_US).filter((session) => session === 0).length;
      send(0, 1);
      nobodys(8, 1_900); // so that nothing is never found
    }
    equal(came > 0, true);
    take(end, Number.POSITIVE_INFINITY, LOOK_US);
    send(0, SMALL.share + 3);
    equal(take(end, Number.POSITIVE_INFINITY, LOOK_US).length, SMALL.share);
  });

  it('does not take its socket for empty while it has no block to read into', () => {
    const { end, map, send } = openCounting(io, 1);
    const { port, trains } = end;
    send(0, SMALL.share);
    addon.wait(port, LOOK_US);
    const held = addon.udpReceive(port, 64);
    send(0, 8);
    for (let look = 0; look < 3; look++) addon.wait(port, 1_000);
    deepEqual(map.counts(0), { put: SMALL.share + 8, taken: held, epoch: 1 });
    addon.clear(trains.handle);
    equal(take(end, Number.POSITIVE_INFINITY, LOOK_US).length, SMALL.share + 8 - held);
  });
});
