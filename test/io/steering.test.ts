import { deepEqual, equal, ok } from 'node:assert/strict';
import { afterAll, afterEach, beforeAll, describe, it } from 'vitest';
import { loadAddon, type PortHandle } from '../../src/native/index.ts';
import {
  createPool,
  loopback,
  namespaceRefusal,
  openSocket,
  openUdpPort,
  PACKET_BLOCK,
  type Pool,
  run,
} from './rig.ts';

const addon = loadAddon();
const opened: (() => void)[] = [];

afterEach(() => {
  for (const close of opened.splice(0).reverse()) close();
});

interface End {
  port: PortHandle;
  trains: Pool;
}

/** `shards` sockets of one SO_REUSEPORT group, steered, and two doors a shard behind them. */
function openGroup(shards: number, { doors = false, address = '127.0.0.1' } = {}): { ends: End[]; portNumber: number } {
  const first = openSocket({ reusePort: true, address });
  const sockets = [first];
  while (sockets.length < (doors ? 3 * shards : shards))
    sockets.push(openSocket({ reusePort: true, portNumber: first.portNumber, address }));
  addon.steerUdp(first.descriptor, shards, doors);
  const ends = sockets.map((socket) => openUdpPort('epoll', socket));
  for (const socket of sockets) opened.push(() => addon.closeDescriptor(socket.descriptor));
  for (const end of ends) opened.push(() => addon.closePort(end.port));
  return { ends, portNumber: first.portNumber };
}

/** A Lightway header (48 65 ..) with this session id, and nothing behind it. */
function header(id: number[]): Uint8Array {
  return Uint8Array.from([0x48, 0x65, 1, 2, 0, 0, 0, 0, ...id]);
}

/** Sends each from a socket of its own. @returns its port number */
function sendFrom(address: string, portNumber: number, ...datagrams: Uint8Array[]): number {
  const socket = openSocket({ address });
  opened.push(() => addon.closeDescriptor(socket.descriptor));
  const sender = openUdpPort('epoll', socket);
  const out = createPool(PACKET_BLOCK, 8);
  const to = loopback(portNumber, address.includes(':') ? 6 : 4);
  for (const bytes of datagrams) addon.put(out.handle, 0, 0, to, bytes);
  equal(addon.udpTransmit(sender.port, out.handle), 0);
  addon.closePort(sender.port);
  return socket.portNumber;
}

/** Of each end, what `look` sees in every datagram that came. */
function received<T>(ends: readonly End[], look: (bytes: Uint8Array, address: Uint8Array) => T): T[][] {
  return ends.map((end) => {
    const found: T[] = [];
    const { batch } = end.trains;
    while (addon.wait(end.port, 20_000) & 1) {
      addon.udpReceive(end.port, 256);
      for (let i = 0; i < batch.header[0]; i++) {
        const step = batch.segmentSize[i] || batch.length[i];
        const address = batch.address.subarray(40 * i, 40 * i + 40);
        for (let at = 0; at < batch.length[i]; at += step) {
          const from = batch.offset[i] + at;
          found.push(look(batch.bytes.subarray(from, from + Math.min(step, batch.length[i] - at)), address));
        }
      }
      addon.clear(end.trains.handle);
    }
    return found;
  });
}

/** (IPv4 address, or the IPv6 address's low half folded) ^ port, times the golden ratio, its upper bits. */
function homeOf(address: number, portNumber: number, shards: number): number {
  return (Math.imul(address ^ portNumber, 0x9e3779b1) >>> 16) % shards;
}

const ZEROES = Array(8).fill(0);
const ONES = Array(8).fill(0xff);

/** A datagram of a client without a session that begins with this record. */
function without(record: number[]): Uint8Array {
  return Uint8Array.from([...header(ZEROES), ...record]);
}

/** Record header and handshake header in plaintext (RFC 9147 §4.1, §5.2), as far as the message number and a little further. */
function handshake(type: number, message: number): number[] {
  return [
    22,
    0xfe,
    0xfd,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    40,
    type,
    0,
    0,
    28,
    message >> 8,
    message & 255,
    0,
    0,
    0,
    0,
    0,
    28,
  ];
}

describe('steerUdp', () => {
  it('brings a datagram with session id n… to socket n mod 3', () => {
    const { ends, portNumber } = openGroup(3);
    const datagrams = Array.from({ length: 256 }, (_, n) => header([n, 1, 2, 3, 4, 5, 6, n]));
    sendFrom('127.0.0.1', portNumber, ...datagrams);
    for (const [shard, ids] of received(ends, (bytes) => bytes[8]).entries()) {
      const expected = Array.from({ length: 256 }, (_, n) => n).filter((n) => n % 3 === shard);
      deepEqual(ids, expected);
    }
  });

  it.each([
    ['127.0.0.1', 0x7f000001],
    ['::1', 1],
  ] as const)(
    'brings EMPTY and REJECTED ids, and what is too short for a header, from %s to where address and port say',
    (address, low) => {
      const { ends, portNumber } = openGroup(4, { address });
      const strangers = [header(ZEROES), header(ONES), new Uint8Array(3), Uint8Array.from([0x48, 0x66, ...Array(14)])];
      const almost = [header([...ZEROES.slice(1), 1]), header([...ONES.slice(1), 0])];
      const expected: number[][] = [[], [], [], []];
      for (let client = 0; client < 40; client++) {
        const from = sendFrom(address, portNumber, ...strangers, ...strangers, ...almost);
        for (let i = 0; i < 8; i++) expected[homeOf(low, from, 4)].push(from);
        expected[0].push(from); // id 00…01
        expected[3].push(from); // id ff…00: 255 mod 4
      }
      const ports = received(ends, (_, { 2: high, 3: low }) => high * 256 + low);
      deepEqual(ports.map(sorted), expected.map(sorted));
      for (const all of expected) ok(new Set(all).size > 1); // clients of one address are spread
    },
  );

  it('brings what names no session to the doors: handshakes that go on to one, all else to the other', () => {
    const { ends, portNumber } = openGroup(2, { doors: true });
    const goesOn = [
      without(handshake(1, 1)), // the ClientHello with the cookie
      without(handshake(1, 256)),
      without([0x2e, 0, 0, 9]), // an encrypted record of epoch 2
      without([21]),
    ];
    const strangers = [
      without(handshake(1, 0)), // a first ClientHello
      without(handshake(1, 0).slice(0, 18)), // breaks off within the message number
      header(ZEROES),
      header(ONES),
      new Uint8Array(0),
      Uint8Array.from([0x48, 0x66, ...header([1, 2, 3, 4, 5, 6, 7, 8]).subarray(2)]),
    ];
    const named = [header([4, ...ONES.slice(1)]), header([5, ...ZEROES.slice(1)])];
    const from = sendFrom('127.0.0.1', portNumber, ...goesOn, ...strangers, ...named);
    const lengths = (datagrams: Uint8Array[]) => datagrams.map(({ length }) => length);
    const expected: number[][] = [lengths([named[0]]), lengths([named[1]]), [], [], [], []];
    const home = homeOf(0x7f000001, from, 2);
    expected[2 + home] = lengths(goesOn);
    expected[4 + home] = lengths(strangers);
    // an empty datagram is an entry without bytes
    const came = received(ends, ({ length }) => length);
    deepEqual(
      came,
      expected.map((each) => each.filter((length) => length > 0)),
    );
  });
});

const sorted = (numbers: readonly number[]) => [...numbers].sort((a, b) => a - b);

const refusal = namespaceRefusal() ?? bpfRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

function bpfRefusal(): string | undefined {
  const tun = addon.openTun({ name: '', queues: 2, vnetHeader: true });
  try {
    addon.closeDescriptor(addon.steerTun(tun.descriptors[0], { poolBase: 0, poolSize: 1, queues: 2 }).map);
    return undefined;
  } catch (error) {
    return `the kernel refuses eBPF: ${(error as Error).message}`;
  } finally {
    for (const descriptor of tun.descriptors) addon.closeDescriptor(descriptor);
  }
}

describe.skipIf(refusal !== undefined)('steerTun', () => {
  const space = `rwio-s${process.pid}`;
  beforeAll(() => run('ip', 'netns', 'add', space));
  afterAll(() => run('ip', 'netns', 'del', space));

  it('brings a packet for an address of the pool to the queue the map names, at once when the map changes', () => {
    const name = `rwio${process.pid % 10_000}s`;
    const tun = addon.openTun({ name, queues: 3, vnetHeader: true });
    run('ip', 'link', 'set', name, 'netns', space);
    run('ip', '-n', space, 'addr', 'add', '10.90.0.1/24', 'dev', name);
    run('ip', '-n', space, 'link', 'set', name, 'up');
    const { map } = addon.steerTun(tun.descriptors[0], { poolBase: 0x0a5a0000, poolSize: 200, queues: 3 });
    const { buffer } = addon.attachSteering(map, 200);
    addon.closeDescriptor(map);
    const queues = new Uint8Array(buffer);
    const ends = tun.descriptors.map((descriptor) => {
      const packets = createPool(PACKET_BLOCK, 32);
      const port = addon.openPort({
        io: 'epoll',
        tun: descriptor,
        vnetHeader: true,
        udp: -1,
        tunReceive: packets.handle,
      });
      opened.push(() => addon.closeDescriptor(descriptor));
      opened.push(() => addon.closePort(port));
      return { port, packets };
    });
    for (const shift of [0, 1]) {
      for (let i = 0; i < 200; i++) queues[i] = (i + shift) % 3;
      const python = `import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM)\nfor i in range(10,40): s.sendto(b'x',('10.90.0.%d'%i,9))`;
      run('ip', 'netns', 'exec', space, 'python3', '-c', python);
      for (const [queue, { port, packets }] of ends.entries()) {
        const found: number[] = [];
        while (addon.wait(port, 20_000) & 2) {
          addon.tunReceive(port, 256);
          const { batch } = packets;
          for (let i = 0; i < batch.header[0]; i++)
            if (batch.bytes[batch.offset[i]] === 0x45) found.push(batch.bytes[batch.offset[i] + 19]);
          addon.clear(packets.handle);
        }
        const expected = Array.from({ length: 30 }, (_, i) => i + 10).filter((i) => (i + shift) % 3 === queue);
        deepEqual(found, expected);
      }
    }
  });
});
