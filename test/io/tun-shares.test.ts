/**
 * Shares of a TUN device: what a kernel that forwards puts into its queues of that what goes in at another device, by the address that it goes to, and what
 * ports count that read it.
 */
import { deepEqual, equal, notEqual } from 'node:assert/strict';
import { afterAll, afterEach, beforeAll, describe, it } from 'vitest';
import type { PortHandle } from '../../src/native/index.ts';
import { parseIpv4 } from '../../src/server/leases.ts';
import { build, bytesOf, concat, UDP } from '../packet/packets.ts';
import {
  addon,
  backends,
  createPool,
  filterRefusal,
  type Io,
  namespaceRefusal,
  PACKET_BLOCK,
  type Pool,
  run,
} from './rig.ts';

const refusal = namespaceRefusal() ?? filterRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

/** The kernel frees places 16 at a time: 15 of them may be taken by what was read. */
const QUEUE = 55;
/** Of 40 places, what one address alone may have, and what is left of four times the rest for the next. */
const [SHARE, NEXT] = [32, 7];
const [HEAD_BYTES, ENTRY_BYTES, ENTRIES] = [192, 128, 1_024];
/** In a head. */
const [PUT, TAKEN, EPOCH] = [64, 136, 140];
const LOOK_US = 20_000;
const [SOURCE, POOL] = ['10.126.0.9', '10.90.0.0'].map(parseIpv4);

const space = `rwts-${process.pid}`;
const inSpace = (...words: string[]) => run('ip', 'netns', 'exec', space, ...words);
const closing: (() => void)[] = [];
let made = 0;

function udp4(host: number, bytes = 20): Uint8Array {
  return build({ ...UDP, source: SOURCE, destination: POOL + host, payload: new Uint8Array(bytes) });
}

/** From fd00:126::9 to a host of fd00:90::/64. */
function udp6(host: number): Uint8Array {
  const head = bytesOf('u32', 0x6000_0000, 'u16', 28, 'u8', 17, 'u8', 64);
  const from = bytesOf('u32', 0xfd00_0126, 'u32', 0, 'u32', 0, 'u32', 9);
  const to = bytesOf('u32', 0xfd00_0090, 'u32', 0, 'u32', 0, 'u32', host);
  return concat(head, from, to, bytesOf('u16', 9, 'u16', 9, 'u16', 28, 'u16', 0xffff), new Uint8Array(20));
}

interface Far {
  readonly port: PortHandle;
  readonly out: Pool;
}
let far: Far;

/** @param share what is to be asked of the kernel while the device is still where this process is */
function device(queues: number, addresses: readonly string[], share = (_: number[]) => {}) {
  const name = `rwts${process.pid % 10_000}x${made++}`;
  const { descriptors } = addon.openTun({ name, queues, vnetHeader: true });
  run('ip', 'link', 'set', name, 'addrgenmode', 'none', 'txqueuelen', String(QUEUE));
  share(descriptors);
  run('ip', 'link', 'set', name, 'netns', space);
  inSpace('sysctl', '-qw', `net.ipv6.conf.${name}.mldv2_unsolicited_report_interval=1`);
  for (const address of addresses)
    inSpace('ip', 'addr', 'add', address, 'dev', name, ...(address.includes(':') ? ['nodad'] : []));
  inSpace('ip', 'link', 'set', name, 'up');
  return { name, descriptors };
}

class Near {
  readonly name: string;
  readonly ends: readonly { port: PortHandle; packets: Pool }[];
  readonly #words: Uint32Array;

  constructor(io: Io, queues: number, address = '10.90.0.1/24') {
    let map = -1;
    const { name, descriptors } = device(queues, [address], ([first]) => {
      map = addon.shareTun(first, queues).map;
    });
    if (queues > 1) this.#steer(descriptors[0], queues);
    this.name = name;
    this.ends = descriptors.map((tun, queue) => {
      const packets = createPool(PACKET_BLOCK, 64);
      const port = addon.openPort({ io, tun, vnetHeader: true, udp: -1, tunReceive: packets.handle });
      closing.push(() => addon.closeDescriptor(tun));
      closing.push(() => addon.closePort(port));
      addon.attachTunShares(port, map, queue, queues);
      addon.wait(port, 0); // nothing is there: from now on what comes is judged
      return { port, packets };
    });
    const bytes = queues * HEAD_BYTES + ENTRIES * ENTRY_BYTES;
    this.#words = new Uint32Array(addon.attachSteering(map, bytes).buffer);
    addon.closeDescriptor(map);
    for (let queue = 0; queue < queues; queue++) this.take(queue); // what the kernel says to a new device
  }

  /** Hosts of even numbers to the first queue, others to the second. */
  #steer(descriptor: number, queues: number): void {
    const { map } = addon.steerTun(descriptor, { poolBase: POOL, poolSize: 256, queues });
    const queueOf = new Uint8Array(addon.attachSteering(map, 256).buffer);
    for (let host = 0; host < 256; host++) queueOf[host] = host % queues;
    addon.closeDescriptor(map);
  }

  /** What is there, up to so many, until nothing came for a while: of each its last byte of the address it goes to, or 0. */
  take(queue: number, most = Number.POSITIVE_INFINITY): number[] {
    const found: number[] = [];
    const { port, packets } = this.ends[queue];
    const { batch, handle } = packets;
    while (found.length < most && addon.wait(port, LOOK_US) & 2) {
      addon.tunReceive(port, Math.min(64, most - found.length));
      for (let i = 0; i < batch.header[0]; i++) {
        const at = batch.offset[i];
        const version = batch.bytes[at] >> 4;
        found.push(version === 4 ? batch.bytes[at + 19] : version === 6 ? batch.bytes[at + 39] : 0);
      }
      addon.clear(handle);
    }
    return found;
  }

  beyond(queue: number): number {
    return addon.portCounters(this.ends[queue].port).tunBeyondShare;
  }

  counts(queue: number): { put: number; taken: number; epoch: number } {
    const [put, taken, epoch] = [PUT, TAKEN, EPOCH].map((at) => this.#words[(queue * HEAD_BYTES + at) / 4]);
    return { put, taken, epoch };
  }
}

/** Packets enter the namespace at the far device, and are forwarded. */
function forward(count: number, packet: Uint8Array): void {
  for (let i = 0; i < count; i++) {
    addon.put(far.out.handle, 0, 0, undefined, packet);
    if (i % 32 < 31 && i < count - 1) continue;
    equal(addon.tunTransmit(far.port, far.out.handle), 0);
    addon.clear(far.out.handle);
  }
}

/** Frames of no protocol that anybody knows, straight to a device. */
function inject(name: string, count: number, bytes: string): void {
  const program = `import socket\ns=socket.socket(socket.AF_PACKET,socket.SOCK_DGRAM)\nfor i in range(${count}): s.sendto(${bytes},('${name}',0x88b5))`;
  inSpace('python3', '-c', program);
}

const each = (count: number, host: number) => Array<number>(count).fill(host);
const placeOf = (host: number) => Math.imul(Buffer.from(bytesOf('u32', host)).readUInt32LE(), 0x9e3779b1) >>> 22;

describe.skipIf(refusal !== undefined)('shares of a TUN device', () => {
  beforeAll(() => {
    run('ip', 'netns', 'add', space);
    inSpace('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
    const { descriptors } = device(1, ['10.126.0.1/24', 'fd00:126::1/64']);
    const received = createPool(PACKET_BLOCK, 8);
    const port = addon.openPort({
      ...{ io: 'epoll', tun: descriptors[0], vnetHeader: true, udp: -1 },
      tunReceive: received.handle,
    });
    far = { port, out: createPool(2_048, 64) };
  });
  afterEach(() => {
    for (const close of closing.splice(0).reverse()) close();
  });
  afterAll(() => {
    if (far) addon.closePort(far.port);
    run('ip', 'netns', 'del', space);
  });

  describe.each(backends())('over %s', (io) => {
    it('lets in of one address less than four times what is free, and then still another’s', () => {
      const near = new Near(io, 1);
      notEqual(placeOf(POOL + 10), placeOf(POOL + 11));
      for (let round = 1; round < 4; round++) {
        forward(SHARE + 20, udp4(10));
        forward(NEXT + 5, udp4(11));
        equal(near.beyond(0), 25 * round);
        deepEqual(near.take(0), [...each(SHARE, 10), ...each(NEXT, 11)]); // and finds nothing: all may come again
      }
    });

    it('knows addresses of IPv6 by their last four bytes', () => {
      const near = new Near(io, 1, 'fd00:90::1/64');
      notEqual(placeOf(10), placeOf(11));
      for (let round = 1; round < 4; round++) {
        forward(SHARE + 20, udp6(10));
        forward(NEXT + 5, udp6(11));
        equal(near.beyond(0), 25 * round);
        deepEqual(near.take(0), [...each(SHARE, 10), ...each(NEXT, 11)]);
      }
    });

    it('loses none of thousands that come a vector at a time, though it never finds nothing', () => {
      const near = new Near(io, 1);
      const before = near.counts(0);
      for (let vector = 0; vector < 150; vector++) {
        const host = 10 + (vector % 3);
        forward(12, udp4(10));
        forward(8, udp4(host));
        deepEqual(near.take(0, 20), [...each(12, 10), ...each(8, host)]);
      }
      const { put, taken, epoch } = near.counts(0);
      deepEqual([put - before.put, taken - before.taken, epoch - before.epoch], [3_000, 3_000, 0]);
      equal(near.beyond(0), 0);
    });

    it('lets pass, and does not count, what is no IP or too short for an address', () => {
      const near = new Near(io, 1);
      const before = near.counts(0);
      for (const [count, bytes] of [
        [SHARE + 5, "b'\\x00'*40"],
        [3, "b'\\x45'+b'\\x00'*18"],
        [2, "b'\\x60'+b'\\x00'*38"],
      ] as const) {
        inject(near.name, count, bytes);
        equal(near.take(0, count).length, count);
      }
      deepEqual(near.counts(0), before);
      inject(near.name, 1, "b'\\x45'+b'\\x00'*19");
      inject(near.name, 1, "b'\\x60'+b'\\x00'*39");
      equal(near.take(0, 2).length, 2);
      deepEqual(near.counts(0), { ...before, put: before.put + 2, taken: before.taken + 2 });
    });

    it('promises no more places than the queue has, however many want them, and whatever was read before', () => {
      const near = new Near(io, 1);
      const before = near.counts(0).put;
      let came = 0;
      for (let round = 0; round < 6; round++) {
        for (let host = 10; host < 30; host++) forward(SHARE, udp4(host));
        came += near.take(0).length;
      }
      equal(near.counts(0).put - before, came);
    });

    it('keeps a share of each of two queues, and counts what is beyond for its own', () => {
      const near = new Near(io, 2);
      for (let round = 1; round < 4; round++) {
        forward(SHARE + 20, udp4(10));
        forward(SHARE + 3, udp4(11));
        forward(NEXT + 1, udp4(12));
        deepEqual([near.beyond(0), near.beyond(1)], [21 * round, 3 * round]);
        deepEqual(near.take(0), [...each(SHARE, 10), ...each(NEXT, 12)]);
        deepEqual(near.take(1), each(SHARE, 11));
      }
    });

    it('forgets what the kernel counted and had no room for, whatever else filled the queue', () => {
      const near = new Near(io, 1);
      const { put } = near.counts(0);
      inject(near.name, QUEUE, "b'\\x00'*40");
      forward(SHARE, udp4(10));
      const counted = near.counts(0).put - put;
      near.take(0);
      forward(SHARE, udp4(10));
      deepEqual([counted, near.take(0)], [SHARE, each(SHARE, 10)]);
    });
  });
});
