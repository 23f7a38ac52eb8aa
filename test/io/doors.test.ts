/** Doors: told of and read only when asked to; what they cannot hold is counted. */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, it } from 'vitest';
import {
  addon,
  backends,
  createPool,
  datagramsOf,
  type Io,
  loopback,
  openSocket,
  openUdpPort,
  PACKET_BLOCK,
  putTrain,
} from './rig.ts';

const opened: (() => void)[] = [];
afterEach(() => {
  for (const close of opened.splice(0).reverse()) close();
});

const STRANGERS = 32;

/** A port with two doors, each of a small buffer, and who sends to any of its sockets. */
function open(io: Io, options: object = {}) {
  const sockets = [0, 1, 2].map((i) => openSocket(i === 0 ? {} : { bufferBytes: 8_192 }));
  const outside = openSocket();
  for (const { descriptor } of [...sockets, outside]) opened.push(() => addon.closeDescriptor(descriptor));
  const doors = sockets.slice(1).map(({ descriptor }) => descriptor);
  const { port, trains } = openUdpPort(io, sockets[0], { doors, ...options });
  const sender = openUdpPort('epoll', outside);
  opened.push(() => addon.closePort(port));
  opened.push(() => addon.closePort(sender.port));
  const out = createPool(PACKET_BLOCK, 8, 1_024);
  /** Datagrams of 100 bytes, each by itself. */
  const send = (to: number, first: number, count: number) => {
    for (let i = 0; i < count; i++) putTrain(out, loopback(sockets[to].portNumber), first + i, 1, 100);
    equal(addon.udpTransmit(sender.port, out.handle), 0);
    addon.clear(out.handle);
  };
  const sendTrain = (to: number, datagrams: number) => {
    putTrain(out, loopback(sockets[to].portNumber), 0, datagrams, 100, 40);
    addon.udpTransmit(sender.port, out.handle);
    addon.clear(out.handle);
  };
  const numbers = () => datagramsOf(trains.batch).map(({ number }) => number);
  /** Somebody else who sends to one of its sockets. */
  const guest = (to: number) => {
    const socket = openSocket();
    const own = openUdpPort('epoll', socket);
    opened.push(() => addon.closeDescriptor(socket.descriptor));
    opened.push(() => addon.closePort(own.port));
    const ask = () => {
      putTrain(out, loopback(sockets[to].portNumber), 1, 1, 100);
      equal(addon.udpTransmit(own.port, out.handle), 0);
      addon.clear(out.handle);
    };
    return { portNumber: socket.portNumber, ask };
  };
  return { port, trains, doors, send, sendTrain, numbers, guest, from: outside.portNumber };
}

function another(): { descriptor: number } {
  const socket = openSocket();
  opened.push(() => addon.closeDescriptor(socket.descriptor));
  return socket;
}

describe.each(backends())('doors, over %s', (io) => {
  it('are silent until they are watched, and again when they no longer are', () => {
    const { port, send } = open(io);
    send(1, 0, 3);
    send(2, 10, 3);
    equal(addon.wait(port, 5_000), 0);
    addon.watchDoors(port, 3);
    equal(addon.wait(port, 20_000) & 16, 16);
    equal(addon.wait(port, 5_000), 16 | STRANGERS);
    addon.watchDoors(port, 1);
    equal(addon.wait(port, 0), 16);
    addon.watchDoors(port, 0);
    equal(addon.wait(port, 5_000), 0);
  });

  it('give as many as asked for, behind what the socket gave, with their address; then say when more came', () => {
    const { port, trains, send, numbers, from } = open(io);
    addon.watchDoors(port, 2);
    send(0, 0, 2);
    send(2, 10, 5);
    for (let bits = 0; bits !== (1 | STRANGERS); ) bits = addon.wait(port, 200_000);
    addon.udpReceive(port, 32);
    equal(addon.doorReceive(port, 1, 3), 3);
    deepEqual(numbers(), [0, 1, 10, 11, 12]);
    deepEqual([...trains.batch.address.slice(4 * 40, 4 * 40 + 8)], [4, 0, from >> 8, from & 255, 127, 0, 0, 1]);
    addon.clear(trains.handle);
    equal(addon.wait(port, 0), STRANGERS); // two are left
    equal(addon.doorReceive(port, 1, 16), 2);
    equal(addon.doorReceive(port, 1, 16), 0);
    equal(addon.wait(port, 5_000), 0);
    send(2, 20, 1);
    equal(addon.wait(port, 200_000), STRANGERS);
    addon.clear(trains.handle);
    equal(addon.doorReceive(port, 1, 16), 1);
    deepEqual(numbers(), [20]);
  });

  it('take a train as it came, and one that is longer than all small ones', () => {
    const { port, trains, sendTrain, numbers } = open(io);
    sendTrain(1, 60);
    addon.watchDoors(port, 1);
    equal(addon.wait(port, 200_000), 16);
    equal(addon.doorReceive(port, 0, 16), 1);
    equal(trains.batch.segmentSize[0], 100);
    deepEqual(
      numbers(),
      Array.from({ length: 60 }, (_, i) => i),
    );
    addon.clear(trains.handle);
  });

  it('wake an idle shard once, and only when watched', async () => {
    const { port, send } = open(io);
    const wakes: number[] = [];
    const arm = () => addon.arm(port, () => wakes.push(1));
    equal(arm(), false);
    send(1, 0, 4);
    await sleep(30);
    deepEqual(wakes, []);
    addon.disarm(port);
    addon.watchDoors(port, 1);
    const isReady = arm();
    for (let i = 0; i < 100 && !isReady && wakes.length === 0; i++) await sleep(5);
    ok(isReady || wakes.length === 1);
    equal(addon.wait(port, 0), 16);
  });

  it('count every datagram of a flood, taken or not', () => {
    const { port, trains, doors, send } = open(io);
    const before = addon.portCounters(port);
    let taken = 0;
    for (let i = 0; i < 10; i++) {
      send(2, i * 200, 200);
      addon.doorReceive(port, 1, 16);
      taken += trains.batch.header[0];
      addon.clear(trains.handle);
    }
    for (let more = 1; more > 0; ) {
      more = addon.doorReceive(port, 1, 16);
      taken += trains.batch.header[0];
      addon.clear(trains.handle);
    }
    const { strangerDrops, handshakeDrops, socketDrops, udpDatagramsIn } = addon.portCounters(port);
    ok(strangerDrops > 0);
    equal(taken + strangerDrops, 2_000);
    equal(udpDatagramsIn - before.udpDatagramsIn, taken);
    deepEqual([handshakeDrops, socketDrops], [0, 0]);
    const successor = openUdpPort(io, another(), { doors });
    opened.push(() => addon.closePort(successor.port));
    equal(addon.portCounters(successor.port).strangerDrops, 0); // those were its predecessor's
  });

  it('count every datagram of trains that were taken in a flood and not chosen', () => {
    const { port, trains, send, sendTrain } = open(io);
    send(2, 0, 200);
    for (let more = 1; more > 0; addon.clear(trains.handle)) more = addon.doorReceive(port, 1, 16);
    const before = addon.portCounters(port);
    for (let i = 0; i < 3; i++) sendTrain(2, 10);
    equal(addon.doorReceive(port, 1, 1), 3);
    const after = addon.portCounters(port);
    equal(after.udpDatagramsIn - before.udpDatagramsIn, 10);
    equal(after.strangerDrops - before.strangerDrops, 20);
  });

  it.each([
    [0, 'handshakeDrops'],
    [1, 'strangerDrops'],
  ] as const)('count every datagram of trains from door %i that find no block', (door, name) => {
    const { port, trains, sendTrain } = open(io);
    for (let i = 0; i < 3; i++) sendTrain(door + 1, 10);
    for (let i = 0; i < 32; i++) addon.put(trains.handle, 0, 0, undefined, new Uint8Array(65_400));
    equal(addon.doorReceive(port, door, 16), 3);
    const counters = addon.portCounters(port);
    deepEqual([counters.udpDatagramsIn, counters[name]], [0, 30]);
  });

  it('leave in the socket what is not asked for, until that has had to drop', () => {
    const { port, trains, send } = open(io);
    send(2, 0, 10);
    equal(addon.doorReceive(port, 1, 4), 4);
    equal(addon.doorReceive(port, 1, 4), 4);
    addon.clear(trains.handle);
    equal(addon.portCounters(port).strangerDrops, 0);
    send(2, 100, 200);
    ok(addon.doorReceive(port, 1, 4) > 4);
    equal(trains.batch.header[0], 4);
  });

  it('give who asks again before all others once the socket has had to drop, whatever the order', () => {
    const { port, trains, send, guest } = open(io);
    const guests = Array.from({ length: 20 }, () => guest(2));
    const ports = () => {
      const { address, header } = trains.batch;
      const found = Array.from({ length: header[0] }, (_, i) => address[i * 40 + 2] * 256 + address[i * 40 + 3]);
      addon.clear(trains.handle);
      return found;
    };
    send(2, 0, 200);
    addon.doorReceive(port, 1, 16);
    addon.clear(trains.handle);
    for (const each of guests.slice(0, 12)) each.ask();
    equal(addon.doorReceive(port, 1, 4), 12);
    const first = ports();
    equal(first.length, 4);
    // of those who were left out, whoever asks again is answered now, wherever he stands among newcomers
    const [again, too] = guests.slice(0, 12).filter(({ portNumber }) => !first.includes(portNumber));
    const newcomers = guests.slice(12);
    for (const each of [...newcomers.slice(0, 3), again, ...newcomers.slice(3), too]) each.ask();
    equal(addon.doorReceive(port, 1, 2), 10);
    deepEqual(ports().sort(), [again.portNumber, too.portNumber].sort());
  });

  it('count what finds no block like what the kernel drops', () => {
    const { port, trains, send } = open(io);
    send(2, 0, 200);
    for (let i = 0; i < 32; i++) addon.put(trains.handle, 0, 0, undefined, new Uint8Array(60_000)); // no block is left
    const before = addon.portCounters(port).strangerDrops;
    const got = addon.doorReceive(port, 1, 4);
    ok(got >= 4);
    const entries = datagramsOf(trains.batch).filter(({ length }) => length === 100).length;
    equal(addon.portCounters(port).strangerDrops - before, got - entries);
  });
});
