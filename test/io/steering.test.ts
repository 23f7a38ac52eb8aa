import { deepEqual, equal } from 'node:assert/strict';
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

/** `count` sockets of one SO_REUSEPORT group, steered. */
function openGroup(count: number): { ends: End[]; portNumber: number } {
  const first = openSocket({ reusePort: true });
  const sockets = [first];
  while (sockets.length < count) sockets.push(openSocket({ reusePort: true, portNumber: first.portNumber }));
  addon.steerUdp(first.descriptor, count);
  const ends = sockets.map((socket) => openUdpPort('epoll', socket));
  for (const socket of sockets) opened.push(() => addon.closeDescriptor(socket.descriptor));
  for (const end of ends) opened.push(() => addon.closePort(end.port));
  return { ends, portNumber: first.portNumber };
}

/** A Lightway header (48 65 ..) with this session id, and nothing behind it. */
function header(id: number[]): Uint8Array {
  return Uint8Array.from([0x48, 0x65, 1, 2, 0, 0, 0, 0, ...id]);
}

describe('steerUdp', () => {
  it('brings a datagram with session id n… to socket n mod 3', () => {
    const { ends, portNumber } = openGroup(3);
    const socket = openSocket();
    opened.push(() => addon.closeDescriptor(socket.descriptor));
    const sender = openUdpPort('epoll', socket);
    const out = createPool(PACKET_BLOCK, 8);
    for (let n = 0; n < 256; n++) addon.put(out.handle, 0, 0, loopback(portNumber), header([n, 1, 2, 3, 4, 5, 6, n]));
    equal(addon.udpTransmit(sender.port, out.handle), 0);
    addon.closePort(sender.port);
    for (const [shard, end] of ends.entries()) {
      const ids: number[] = [];
      const { batch } = end.trains;
      while (addon.wait(end.port, 20_000) & 1) {
        addon.udpReceive(end.port, 256);
        for (let i = 0; i < batch.header[0]; i++) {
          const step = batch.segmentSize[i] || batch.length[i];
          for (let at = 0; at < batch.length[i]; at += step) ids.push(batch.bytes[batch.offset[i] + at + 8]);
        }
        addon.clear(end.trains.handle);
      }
      const expected = Array.from({ length: 256 }, (_, n) => n).filter((n) => n % 3 === shard);
      deepEqual(ids, expected);
    }
  });

  it('keeps EMPTY and REJECTED ids, and what is too short for a header, with the address they come from', () => {
    const { ends, portNumber } = openGroup(4);
    const socket = openSocket();
    opened.push(() => addon.closeDescriptor(socket.descriptor));
    const sender = openUdpPort('epoll', socket);
    const out = createPool(PACKET_BLOCK, 8);
    const strangers = [header(Array(8).fill(0)), header(Array(8).fill(0xff)), new Uint8Array(3)];
    const almost = [header([0, 0, 0, 0, 0, 0, 0, 1]), header([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0])];
    for (const bytes of [...strangers, ...strangers, ...almost])
      addon.put(out.handle, 0, 0, loopback(portNumber), bytes);
    equal(addon.udpTransmit(sender.port, out.handle), 0);
    addon.closePort(sender.port);
    const lengths = ends.map((end) => {
      const found: number[] = [];
      while (addon.wait(end.port, 20_000) & 1) {
        addon.udpReceive(end.port, 256);
        const { batch } = end.trains;
        for (let i = 0; i < batch.header[0]; i++) found.push(batch.length[i]);
        addon.clear(end.trains.handle);
      }
      return found;
    });
    // 127.0.0.1 · golden ratio >> 16, mod 4
    const home = (Math.imul(0x7f000001, 0x9e3779b1) >>> 16) % 4;
    const expected: number[][] = [[], [], [], []];
    expected[home].push(16, 16, 3, 16, 16, 3);
    expected[0].push(16); // id 00…01
    expected[3].push(16); // id ff…00: 255 mod 4
    deepEqual(lengths, expected);
  });
});

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
