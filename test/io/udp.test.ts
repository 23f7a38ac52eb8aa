import { deepEqual, equal, ok } from 'node:assert/strict';
import { constants } from 'node:os';
import { afterEach, describe, it } from 'vitest';
import { ADDRESS, Flag, Verdict } from '../../src/datapath/batch.ts';
import type { PortHandle } from '../../src/native/index.ts';
import {
  addon,
  backends,
  createPool,
  datagramsOf,
  type Io,
  loopback,
  openSocket,
  openUdpPort,
  type Pool,
  putTrain,
  receiveAll,
} from './rig.ts';

const { EAGAIN, EINVAL, EIO, EMSGSIZE, ENOBUFS, EPERM } = constants.errno;

interface Pair {
  sender: PortHandle;
  receiver: PortHandle;
  received: Pool;
  out: Pool;
  to: Uint8Array;
  from: number;
}

const opened: (() => void)[] = [];

afterEach(() => {
  for (const close of opened.splice(0).reverse()) close();
  equal(addon.mappings().quarantined, 0); // every ring let go in time
});

function openEnd(io: Io, socketOptions = {}, portOptions = {}) {
  const socket = openSocket(socketOptions);
  const end = openUdpPort(io, socket, portOptions);
  opened.push(() => addon.closeDescriptor(socket.descriptor));
  opened.push(() => addon.closePort(end.port));
  return { ...end, socket };
}

function openPair(io: Io, portOptions = {}): Pair {
  const [a, b] = [openEnd(io, {}, portOptions), openEnd(io)];
  const out = createPool(TRAIN, 64);
  return {
    sender: a.port,
    receiver: b.port,
    received: b.trains,
    out,
    to: loopback(b.socket.portNumber),
    from: a.socket.portNumber,
  };
}

const TRAIN = 65_536 + 64;
const numbers = (all: { number: number }[]) => all.map((datagram) => datagram.number);
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

describe.each(backends())('udp port over %s', (io) => {
  it('carries a train of 10 whole, with its segment size, its sender and the address it came to', () => {
    const { sender, receiver, received, out, to, from } = openPair(io);
    putTrain(out, to, 0, 10, 1400, 900);
    equal(addon.udpTransmit(sender, out.handle), 0);
    equal(addon.wait(receiver, 200_000) & 1, 1);
    equal(addon.udpReceive(receiver, 256), 1);
    const { batch } = received;
    equal(batch.length[0], 9 * 1400 + 900);
    equal(batch.segmentSize[0], 1400);
    equal(batch.slot[0], -1);
    equal(batch.verdict[0], Verdict.pass);
    deepEqual(batch.address.slice(0, ADDRESS.size), loopback(from, 4, [127, 0, 0, 1]));
    deepEqual(numbers(datagramsOf(batch)), upTo(10));
  });

  it('tells how long the first train has waited in the socket, while that is asked for', () => {
    const { sender, receiver, received, out, to } = openPair(io);
    const delayOf = (wait: number) => {
      addon.clear(out.handle);
      addon.clear(received.handle);
      putTrain(out, to, 0, 10, 1400, 900);
      equal(addon.udpTransmit(sender, out.handle), 0);
      for (const end = addon.monotonicMicros() + wait; addon.monotonicMicros() < end; );
      equal(addon.wait(receiver, 200_000) & 1, 1);
      equal(addon.udpReceive(receiver, 256), 1);
      return addon.arrivalDelay(receiver);
    };
    equal(delayOf(0), -1);
    addon.stampArrivals(receiver, true);
    // the kernel begins to stamp some time after it was asked, and says of what came before that it has just come
    let delays = 0;
    while (delayOf(20_000) < 15_000) ok(++delays < 200);
    equal(addon.arrivalDelay(receiver), -1);
    addon.stampArrivals(receiver, false);
    equal(delayOf(0), -1);
  });

  it('sends singles and trains in the order of their entries, and leaves other verdicts and streams alone', () => {
    const { sender, receiver, received, out, to } = openPair(io);
    putTrain(out, to, 0, 1, 100);
    putTrain(out, to, 1, 5, 500, 30);
    const dropped = putTrain(out, to, 1000, 1, 100);
    out.batch.verdict[dropped] = Verdict.noRoute;
    const stream = putTrain(out, to, 2000, 1, 100);
    out.batch.kind[stream] = 1;
    putTrain(out, to, 6, 3, 1200);
    equal(addon.udpTransmit(sender, out.handle), 0);
    deepEqual(numbers(receiveAll(receiver, received, 9)), upTo(9));
    equal(out.batch.verdict[dropped], Verdict.noRoute);
    equal(out.batch.verdict[stream], Verdict.pass);
    const counters = addon.portCounters(sender);
    deepEqual([counters.udpTrainsOut, counters.udpDatagramsOut], [3, 9]);
  });

  it('counts trains by length, in powers of two', () => {
    const { sender, receiver, received, out, to } = openPair(io);
    for (const [first, length] of [
      [0, 1],
      [1, 2],
      [3, 3],
      [6, 8],
      [14, 33],
    ])
      putTrain(out, to, first, length, 500);
    equal(addon.udpTransmit(sender, out.handle), 0);
    deepEqual(numbers(receiveAll(receiver, received, 47)), upTo(47));
    const [sent, heard] = [addon.portCounters(sender), addon.portCounters(receiver)];
    const starts = [1, 2, 4, 8, 16, 32, 64];
    deepEqual(
      starts.map((shortest) => sent[`trainsOut${shortest}`]),
      [1, 2, 0, 1, 0, 1, 0],
    );
    equal(
      starts.reduce((sum, shortest) => sum + heard[`trainsIn${shortest}`], 0),
      heard.udpTrainsIn,
    );
  });

  it('gives every block back when the batches are cleared', () => {
    const { sender, receiver, received, out, to } = openPair(io);
    for (let round = 0; round < 50; round++) {
      for (let i = 0; i < 8; i++) putTrain(out, to, round * 8 + i, 1, 1000);
      addon.udpTransmit(sender, out.handle);
      addon.clear(out.handle);
      deepEqual(
        numbers(receiveAll(receiver, received, 8)),
        upTo(8).map((i) => round * 8 + i),
      );
    }
    equal(addon.freeBlocks(out.arena), 64);
    equal(addon.freeBlocks(received.arena), 32);
  });

  it.each([EIO, EINVAL, EMSGSIZE])(
    'replays a train refused with errno %i datagram by datagram, and tells the errno',
    (errno) => {
      const { sender, receiver, received, out, to } = openPair(io);
      putTrain(out, to, 0, 2, 1000);
      const refused = putTrain(out, to, 2, 6, 1000, 10);
      putTrain(out, to, 8, 2, 1000);
      addon.injectErrors(sender, 'udp', [0, errno]);
      equal(addon.udpTransmit(sender, out.handle), 0);
      deepEqual(numbers(receiveAll(receiver, received, 10)), upTo(10));
      equal(out.batch.error[refused], errno);
      equal(out.batch.verdict[refused], Verdict.pass);
      const counters = addon.portCounters(sender);
      deepEqual([counters.gsoRefused, counters.udpDatagramsOut, counters.sendErrors], [1, 10, 0]);
    },
  );

  it('counts a datagram that is refused alone during a replay, and sends the rest once and in order', () => {
    const { sender, receiver, received, out, to } = openPair(io);
    const refused = putTrain(out, to, 0, 4, 1000);
    putTrain(out, to, 4, 1, 1000);
    addon.injectErrors(sender, 'udp', [EIO, 0, EMSGSIZE]);
    equal(addon.udpTransmit(sender, out.handle), 0);
    deepEqual(numbers(receiveAll(receiver, received, 4)), [0, 2, 3, 4]);
    equal(out.batch.verdict[refused], Verdict.sendFailed);
    equal(out.batch.error[refused], EIO); // why it was replayed
    equal(out.batch.flags[refused] & Flag.unsegmented, Flag.unsegmented);
    equal(addon.portCounters(sender).sendErrors, 1);
  });

  it('drops and counts what fails for another reason, a train with all its datagrams', () => {
    const { sender, receiver, received, out, to } = openPair(io);
    const refused = putTrain(out, to, 100, 3, 1000);
    putTrain(out, to, 0, 2, 1000);
    addon.injectErrors(sender, 'udp', [EPERM]);
    equal(addon.udpTransmit(sender, out.handle), 0);
    deepEqual(numbers(receiveAll(receiver, received, 2)), upTo(2));
    deepEqual([out.batch.verdict[refused], out.batch.error[refused]], [Verdict.sendFailed, EPERM]);
    equal(out.batch.flags[refused], 0);
    equal(addon.portCounters(sender).sendErrors, 3);
  });

  // Of a send that is injected as -n the kernel gets the first n bytes, so that it takes no more.
  it.each([
    ['within a datagram', -3_500, 3, 500],
    ['within the first', -10, 0, 10],
    ['within the last', -9_100, 9, 100],
    ['before the last', -9_000, undefined, 0],
    ['between two', -3_000, undefined, 0],
  ] as const)('goes on with the next datagram of a train that was cut %s', (_, injected, cut, left) => {
    const { sender, receiver, received, out, to } = openPair(io);
    const train = putTrain(out, to, 0, 10, 1_000, 300);
    addon.injectErrors(sender, 'udp', [injected]);
    equal(addon.udpTransmit(sender, out.handle), 0);
    const sizes = upTo(10).map((number) => (number === cut ? left : number === 9 ? 300 : 1_000));
    deepEqual(
      receiveAll(receiver, received, 10),
      sizes.map((length, number) => ({ number, length })),
    );
    const lost = cut === undefined ? 0 : 1;
    equal(out.batch.verdict[train], lost ? Verdict.sendFailed : Verdict.pass);
    equal(out.batch.error[train], 0); // trains of this session may be sent on
    const { sendErrors, udpDatagramsOut, udpBytesOut } = addon.portCounters(sender);
    const bytes = 9_300 - (cut === undefined ? 0 : cut === 9 ? 300 : 1_000);
    deepEqual([sendErrors, udpDatagramsOut, udpBytesOut], [lost, 10 - lost, bytes]);
  });

  it('sends nothing twice and nothing out of order around sends that were cut, whatever waits meanwhile', () => {
    const { sender, receiver, received, out, to } = openPair(io);
    putTrain(out, to, 0, 1, 1_000);
    putTrain(out, to, 1, 4, 1_000);
    putTrain(out, to, 5, 1, 1_000);
    putTrain(out, to, 6, 4, 1_000);
    putTrain(out, to, 10, 1, 1_000);
    // 0 | 1, 2 cut | 3, 4 of no use yet | later 3, 4 | 5 cut | 6 to 9 refused as a train: 6 | 7 cut | 8, 9, 10
    addon.injectErrors(sender, 'udp', [0, -1_200, EAGAIN, 0, -40, EIO, 0, -700]);
    equal(addon.udpTransmit(sender, out.handle), 4);
    addon.clear(out.handle);
    equal(addon.wait(sender, 200_000) & 8, 8);
    equal(addon.udpTransmit(sender, out.handle), 0);
    deepEqual(
      receiveAll(receiver, received, 11),
      upTo(11).map((number) => ({ number, length: { 2: 200, 5: 40, 7: 700 }[number] ?? 1_000 })),
    );
    const { sendErrors, udpDatagramsOut } = addon.portCounters(sender);
    deepEqual([sendErrors, udpDatagramsOut], [3, 8]);
    equal(addon.freeBlocks(out.arena), 64);
  });

  it.each([EAGAIN, ENOBUFS])(
    'queues from the train that met errno %i on, keeps blocks and order, and says when it may go on',
    (errno) => {
      const { sender, receiver, received, out, to } = openPair(io);
      for (let i = 0; i < 4; i++) putTrain(out, to, i * 3, 3, 1000);
      addon.injectErrors(sender, 'udp', [0, errno, 0, errno, EIO]);
      equal(addon.udpTransmit(sender, out.handle), 3);
      addon.clear(out.handle); // queued entries keep their blocks
      ok(addon.freeBlocks(out.arena) < 64);
      putTrain(out, to, 12, 1, 1000); // comes later, must leave later
      equal(addon.wait(sender, 200_000) & 8, 8);
      equal(addon.udpTransmit(sender, out.handle), 3); // one went, the next met the second refusal; the new one queues behind
      addon.clear(out.handle);
      equal(addon.wait(sender, 200_000) & 8, 8);
      equal(addon.udpTransmit(sender, out.handle), 0); // meets EIO: replayed
      deepEqual(numbers(receiveAll(receiver, received, 13)), upTo(13));
      equal(addon.freeBlocks(out.arena), 64);
      equal(addon.portCounters(sender).eagain, 2);
      equal(addon.wait(sender, 0) & 8, 0);
    },
  );

  it('lets nothing overtake when the socket buffer is really full', () => {
    const small = openEnd(io, { bufferBytes: 1 }); // the kernel makes it its minimum
    const far = openEnd(io);
    const out = createPool(TRAIN, 64);
    const to = loopback(far.socket.portNumber);
    const seen: number[] = [];
    let sent = 0;
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 10; i++) putTrain(out, to, sent++, 1, 1400);
      let queued = addon.udpTransmit(small.port, out.handle);
      addon.clear(out.handle);
      while (queued > 0) {
        equal(addon.wait(small.port, 200_000) & 8, 8);
        queued = addon.udpTransmit(small.port, out.handle);
      }
      seen.push(...numbers(receiveAll(far.port, far.trains, 10)));
    }
    deepEqual(seen, upTo(200));
  });

  it('refuses an entry whose columns point outside the arena or at a block nobody holds, and never reads there', () => {
    const { sender, out, to } = openPair(io);
    const [far, free] = [putTrain(out, to, 0, 1, 100), putTrain(out, to, 1, 1, 100)];
    out.batch.offset[far] = 0xffffff00;
    const held = out.batch.block[free];
    out.batch.block[free] = 40_000;
    equal(addon.udpTransmit(sender, out.handle), 0);
    deepEqual([out.batch.verdict[far], out.batch.verdict[free]], [Verdict.sendFailed, Verdict.sendFailed]);
    out.batch.block[free] = held;
    addon.clear(out.handle);
    equal(addon.freeBlocks(out.arena), 64);
  });

  it('stops receiving when every block is referred to, and goes on when they come back', () => {
    const { sender, receiver, received, out, to } = openPair(io);
    for (let i = 0; i < 40; i++) putTrain(out, to, i, 1, 100);
    addon.udpTransmit(sender, out.handle);
    let first = 0;
    while (addon.wait(receiver, 20_000) & 1) {
      const count = addon.udpReceive(receiver, 256);
      if (count === 0) break;
      first += count;
    }
    ok(first >= 28 && first <= 32, `${first} of 32 blocks`);
    const before = numbers(datagramsOf(received.batch));
    addon.clear(received.handle);
    deepEqual([...before, ...numbers(receiveAll(receiver, received, 40 - first))], upTo(40));
    ok(addon.portCounters(receiver).noBuffers >= 1);
  });

  it('receives no more than the limit at a time, nothing lost', () => {
    const { sender, receiver, received, out, to } = openPair(io);
    for (let i = 0; i < 10; i++) putTrain(out, to, i, 1, 100);
    addon.udpTransmit(sender, out.handle);
    const seen: number[] = [];
    for (let i = 0; i < 10; i++) {
      equal(addon.wait(receiver, 200_000) & 1, 1);
      equal(addon.udpReceive(receiver, 1), 1);
      seen.push(...numbers(datagramsOf(received.batch)));
      addon.clear(received.handle);
    }
    deepEqual(seen, upTo(10));
  });

  it('wakes the event loop once per arm(), and says at once when work is there', async () => {
    const { sender, receiver, received, out, to } = openPair(io);
    for (let round = 0; round < 5; round++) {
      let calls = 0;
      const woken = new Promise<void>((resolve) => {
        equal(
          addon.arm(receiver, () => resolve(void calls++)),
          false,
        );
      });
      putTrain(out, to, round, 1, 100);
      addon.udpTransmit(sender, out.handle);
      addon.clear(out.handle);
      await woken;
      equal(calls, 1);
      equal(
        addon.arm(receiver, () => calls++),
        true,
      );
      deepEqual(numbers(receiveAll(receiver, received, 1)), [round]);
    }
    equal(
      addon.arm(receiver, () => ok(false, 'disarmed')),
      false,
    );
    addon.disarm(receiver);
  });

  it('speaks IPv4 and IPv6 on one dual-stack socket, and answers from the address it was asked at', () => {
    const server = openEnd(io, { address: '::' });
    for (const family of [4, 6] as const) {
      const client = openEnd(io, { address: family === 4 ? '127.0.0.1' : '::1' });
      const out = createPool(TRAIN, 4);
      const local = family === 4 ? [127, 0, 0, 9] : undefined;
      const to = loopback(server.socket.portNumber, family);
      if (local) to.set(local, ADDRESS.remote);
      putTrain(out, to, 7, 3, 500);
      equal(addon.udpTransmit(client.port, out.handle), 0);
      equal(addon.wait(server.port, 200_000) & 1, 1);
      equal(addon.udpReceive(server.port, 8), 1);
      const peer = server.trains.batch.address.slice(0, ADDRESS.size);
      equal(peer[ADDRESS.family], family);
      if (local) deepEqual([...peer.slice(ADDRESS.local, ADDRESS.local + 4)], local);
      addon.clear(server.trains.handle);
      const back = createPool(TRAIN, 4);
      putTrain(back, peer, 9, 2, 500);
      equal(addon.udpTransmit(server.port, back.handle), 0);
      equal(addon.wait(client.port, 200_000) & 1, 1);
      equal(addon.udpReceive(client.port, 8), 1);
      deepEqual(numbers(datagramsOf(client.trains.batch)), [9, 10]);
      const source = client.trains.batch.address.slice(ADDRESS.remote, ADDRESS.remote + 16);
      if (local) deepEqual([...source.slice(0, 4)], local);
    }
  });
});

describe.runIf(backends().includes('io_uring')).each([{ sqpoll: true }, { zeroCopy: true }])(
  'udp port over io_uring with %o',
  (options) => {
    it('goes on with the next datagram of a train that was cut', () => {
      const { sender, receiver, received, out, to } = openPair('io_uring', options);
      for (let i = 0; i < 3; i++) putTrain(out, to, i * 4, 4, 1_000);
      addon.injectErrors(sender, 'udp', [0, -1_200, 0, -2_900]);
      equal(addon.udpTransmit(sender, out.handle), 0);
      deepEqual(
        receiveAll(receiver, received, 12),
        upTo(12).map((number) => ({ number, length: { 5: 200, 10: 900 }[number] ?? 1_000 })),
      );
      equal(addon.portCounters(sender).sendErrors, 2);
    });

    it('sends 400 trains once and in order and gives every block back', () => {
      const { sender, receiver, received, out, to } = openPair('io_uring', options);
      const seen: number[] = [];
      for (let round = 0; round < 50; round++) {
        for (let i = 0; i < 8; i++) putTrain(out, to, (round * 8 + i) * 2, 2, 1000);
        equal(addon.udpTransmit(sender, out.handle), 0);
        addon.clear(out.handle);
        seen.push(...numbers(receiveAll(receiver, received, 16)));
        addon.wait(sender, 0); // notifications
      }
      deepEqual(seen, upTo(800));
      addon.closePort(sender);
      equal(addon.freeBlocks(out.arena), 64);
      equal(addon.mappings().quarantined, 0);
    });
  },
);
