/**
 * Two TUN devices in a namespace that forwards between them: what goes in at `near` comes out at `far`, and the kernel's own
 * segmentation is the oracle for ours.
 */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { constants } from 'node:os';
import { afterAll, afterEach, beforeAll, describe, it } from 'vitest';
import { Flag, GsoType, HEADER, Verdict } from '../../src/datapath/batch.ts';
import type { PortHandle } from '../../src/native/index.ts';
import { addon, backends, createPool, type Io, namespaceRefusal, PACKET_BLOCK, type Pool, run } from './rig.ts';

const { EAGAIN, EFAULT, EINVAL, EIO } = constants.errno;
const refusal = namespaceRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);
const space = `rwio-${process.pid}`;
let devices = 0;

interface End {
  name: string;
  port: PortHandle;
  received: Pool;
  descriptor: number;
}

const opened: (() => void)[] = [];

function openEnd(
  io: Io,
  subnet: number,
  options: { vnetHeader: boolean; offload: boolean; multishotRead?: boolean },
): End {
  const name = `rwio${process.pid % 10_000}x${devices++}`;
  const tun = addon.openTun({ name, queues: 1, vnetHeader: options.vnetHeader });
  addon.tunOffload(tun.descriptors[0], options.offload);
  run('ip', 'link', 'set', name, 'netns', space);
  run('ip', '-n', space, 'addr', 'add', `10.${subnet}.0.1/24`, 'dev', name);
  run('ip', '-n', space, 'addr', 'add', `fd00:${subnet}::1/64`, 'dev', name, 'nodad');
  run('ip', '-n', space, 'link', 'set', name, 'up', 'mtu', '1500');
  const received = createPool(PACKET_BLOCK, 32);
  const port = addon.openPort({
    io,
    tun: tun.descriptors[0],
    vnetHeader: options.vnetHeader,
    udp: -1,
    tunReceive: received.handle,
    multishotRead: options.multishotRead ?? true,
  });
  opened.push(() => addon.closeDescriptor(tun.descriptors[0]));
  opened.push(() => addon.closePort(port));
  return { name, port, received, descriptor: tun.descriptors[0] };
}

function checksum(bytes: Uint8Array, initial = 0): number {
  let sum = initial;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i] << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

interface Packet {
  bytes: Uint8Array;
  start: number; // virtio_net_hdr csum_start, csum_offset
  offset: number;
  headerLength: number;
}

/** An IP packet from near's subnet to far's. The transport checksum holds the pseudo-header sum only. */
function packet(protocol: 'tcp' | 'udp', version: 4 | 6, payload: number, port = 5000): Packet {
  const start = version === 4 ? 20 : 40;
  const header = protocol === 'tcp' ? 32 : 8;
  const bytes = new Uint8Array(start + header + payload);
  const view = new DataView(bytes.buffer);
  const number = protocol === 'tcp' ? 6 : 17;
  if (version === 4) {
    bytes.set([0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, number, 0, 0, 10, 81, 0, 2, 10, 82, 0, 2]);
    view.setUint16(2, bytes.length);
    view.setUint16(10, ~checksum(bytes.subarray(0, 20)) & 0xffff);
  } else {
    bytes.set([0x60, 0, 0, 0, 0, 0, number, 64]);
    view.setUint16(4, header + payload);
    bytes.set([0xfd, 0, 0, 0x81, ...Array(11).fill(0), 2, 0xfd, 0, 0, 0x82, ...Array(11).fill(0), 2], 8);
  }
  view.setUint16(start, port);
  view.setUint16(start + 2, 80);
  if (protocol === 'tcp') {
    view.setUint32(start + 4, 0xfffffe00); // wraps in the middle
    view.setUint32(start + 8, 0x01020304);
    bytes.set([0x80, 0x99, 0x20, 0, 0, 0, 0, 0, 1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8], start + 12); // CWR, ACK, PSH, FIN; timestamps
  } else {
    view.setUint16(start + 4, 8 + payload);
  }
  for (let i = 0; i < payload; i++) bytes[start + header + i] = (i * 7 + (i >> 8)) & 255;
  const offset = protocol === 'tcp' ? 16 : 6;
  const addresses = version === 4 ? bytes.subarray(12, 20) : bytes.subarray(8, 40);
  view.setUint16(start + offset, checksum(addresses, number + header + payload));
  return { bytes, start, offset, headerLength: start + header };
}

function putPacket(pool: Pool, made: Packet, gso = 0, segmentSize = 0): number {
  const entry = pool.batch.header[0];
  ok(addon.put(pool.handle, 0, gso, undefined, made.bytes));
  pool.batch.segmentSize[entry] = segmentSize;
  pool.batch.flags[entry] = Flag.needsChecksum;
  pool.batch.checksumStart[entry] = made.start;
  pool.batch.checksumOffset[entry] = made.offset;
  pool.batch.headerLength[entry] = made.headerLength;
  return entry;
}

const SMALL_BLOCK = 2_048;

/** The same as a head of the headers and 950 bytes, and pieces of 950 bytes behind it, the last one shorter: in several blocks of a pool of SMALL_BLOCK. */
function putPieces(pool: Pool, made: Packet, gso: number, segmentSize: number): number {
  const { bytes, headerLength } = made;
  const entry = putPacket(pool, { ...made, bytes: bytes.subarray(0, headerLength + 950) }, gso, segmentSize);
  for (let at = headerLength + 950; at < bytes.length; at += 950)
    ok(addon.put(pool.handle, 0, GsoType.piece, undefined, bytes.subarray(at, at + 950)));
  return entry;
}

interface Read {
  bytes: Uint8Array;
  kind: number;
  segmentSize: number;
  flags: number;
}

/** What comes out at `end` for far's host address; other packets are the kernel's own (router solicitations). */
function readAll(end: End, count: number): Read[] {
  const all: Read[] = [];
  const { batch } = end.received;
  while (all.length < count) {
    if ((addon.wait(end.port, 300_000) & 2) === 0) break;
    addon.tunReceive(end.port, 256);
    for (let i = 0; i < batch.header[0]; i++) {
      const bytes = batch.bytes.slice(batch.offset[i], batch.offset[i] + batch.length[i]);
      const ours = bytes[0] >> 4 === 4 ? bytes[17] === 82 : bytes[6] !== 58 && bytes[6] !== 0;
      if (ours) all.push({ bytes, kind: batch.kind[i], segmentSize: batch.segmentSize[i], flags: batch.flags[i] });
    }
    addon.clear(end.received.handle);
  }
  return all;
}

describe.skipIf(refusal !== undefined)('tun port', () => {
  beforeAll(() => {
    run('ip', 'netns', 'add', space);
    run(
      'ip',
      'netns',
      'exec',
      space,
      'sh',
      '-c',
      'echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding',
    );
  });
  afterEach(() => {
    for (const close of opened.splice(0).reverse()) close();
    equal(addon.mappings().quarantined, 0);
  });
  afterAll(() => run('ip', 'netns', 'del', space));

  const shapes = [
    ['TCPv4', 'tcp', 4, GsoType.tcp4],
    ['TCPv6', 'tcp', 6, GsoType.tcp6],
    ['UDPv4', 'udp', 4, GsoType.udp],
    ['UDPv6', 'udp', 6, GsoType.udp],
  ] as const;

  describe.each(backends())('over %s', (io) => {
    it.each(shapes)('carries a %s superpacket of 20 segments whole', (_, protocol, version, gso) => {
      const near = openEnd(io, 81, { vnetHeader: true, offload: true });
      const far = openEnd(io, 82, { vnetHeader: true, offload: true });
      const out = createPool(PACKET_BLOCK, 4);
      const made = packet(protocol, version, 19 * 1000 + 10);
      putPacket(out, made, gso, 1000);
      equal(addon.tunTransmit(near.port, out.handle), 0);
      const [whole, ...more] = readAll(far, 1);
      deepEqual(more, []);
      deepEqual([whole.kind, whole.segmentSize, whole.bytes.length], [gso, 1000, made.bytes.length]);
      equal(whole.flags & Flag.needsChecksum, Flag.needsChecksum);
      deepEqual(whole.bytes.subarray(made.start + 20), made.bytes.subarray(made.start + 20));
    });

    it.each(shapes)(
      'replays a refused %s superpacket in the very segments the kernel would have made',
      (_, protocol, version, gso) => {
        const near = openEnd(io, 81, { vnetHeader: true, offload: true });
        const far = openEnd(io, 82, { vnetHeader: true, offload: false });
        const out = createPool(PACKET_BLOCK, 4);
        putPacket(out, packet(protocol, version, 5 * 900 + 123), gso, 900);
        equal(addon.tunTransmit(near.port, out.handle), 0);
        const kernels = readAll(far, 6);
        addon.injectErrors(near.port, 'tun', [EINVAL]);
        equal(addon.tunTransmit(near.port, out.handle), 0);
        const ours = readAll(far, 6);
        equal(kernels.length, 6);
        deepEqual(
          ours.map((one) => one.bytes),
          kernels.map((one) => one.bytes),
        );
        equal(out.batch.error[0], EINVAL);
        equal(out.batch.verdict[0], Verdict.pass);
        const { gsoRefused, tunGsoRefused } = addon.portCounters(near.port);
        deepEqual([gsoRefused, tunGsoRefused], [0, 1]);
        const { refusedTcp, refusedUdp } = HEADER;
        deepEqual(
          [out.batch.header[refusedTcp], out.batch.header[refusedUdp]],
          protocol === 'udp' ? [0, EINVAL] : [EINVAL, 0],
        );
        equal(addon.tunTransmit(near.port, out.handle), 0);
        deepEqual([out.batch.header[refusedTcp], out.batch.header[refusedUdp]], [0, 0]);
      },
    );

    it('cuts superpackets itself and completes checksums when the device has no vnet header', () => {
      const oracle = openEnd(io, 81, { vnetHeader: true, offload: true });
      const far = openEnd(io, 82, { vnetHeader: true, offload: false });
      const out = createPool(PACKET_BLOCK, 4);
      putPacket(out, packet('tcp', 4, 3000), GsoType.tcp4, 1000);
      putPacket(out, packet('udp', 4, 333));
      equal(addon.tunTransmit(oracle.port, out.handle), 0);
      const expected = readAll(far, 4);
      const plain = openEnd(io, 83, { vnetHeader: false, offload: false });
      equal(addon.tunTransmit(plain.port, out.handle), 0);
      const ours = readAll(far, 4);
      equal(expected.length, 4);
      // the last packet went in with an open checksum, which the kernel may leave open towards a device that takes it
      deepEqual(
        ours.slice(0, 3).map((one) => one.bytes),
        expected.slice(0, 3).map((one) => one.bytes),
      );
      equal(checksum(ours[3].bytes.subarray(20), checksum(ours[3].bytes.subarray(12, 20), 17 + 341)), 0xffff);
    });

    it.each(shapes)(
      'writes a %s superpacket that lies in pieces as it writes a whole one',
      (_, protocol, version, gso) => {
        const near = openEnd(io, 81, { vnetHeader: true, offload: true });
        const far = openEnd(io, 82, { vnetHeader: true, offload: true });
        const [whole, pieces] = [createPool(PACKET_BLOCK, 4), createPool(SMALL_BLOCK, 64)];
        const made = packet(protocol, version, 19 * 1000 + 10);
        putPacket(whole, made, gso, 1000);
        putPieces(pieces, made, gso, 1000);
        putPacket(pieces, packet('udp', 4, 77));
        for (const { handle } of [whole, pieces]) equal(addon.tunTransmit(near.port, handle), 0);
        const [expected, ours, next] = readAll(far, 3);
        deepEqual(ours, expected);
        equal(next.bytes.length, 28 + 77);
        equal(addon.portCounters(near.port).tunPacketsOut, 3);
        equal(addon.portCounters(near.port).tunBytesOut, 2 * made.bytes.length + 28 + 77);
      },
    );

    it.each(shapes)('replays a refused %s superpacket that lies in pieces', (_, protocol, version, gso) => {
      const near = openEnd(io, 81, { vnetHeader: true, offload: true });
      const far = openEnd(io, 82, { vnetHeader: true, offload: false });
      const plain = openEnd(io, 83, { vnetHeader: false, offload: false });
      const out = createPool(SMALL_BLOCK, 64);
      putPieces(out, packet(protocol, version, 5 * 900 + 123), gso, 900);
      equal(addon.tunTransmit(near.port, out.handle), 0);
      const kernels = readAll(far, 6).map((one) => one.bytes);
      addon.injectErrors(near.port, 'tun', [EINVAL]);
      equal(addon.tunTransmit(near.port, out.handle), 0);
      const ours = readAll(far, 6).map((one) => one.bytes);
      deepEqual([out.batch.error[0], out.batch.verdict[0]], [EINVAL, Verdict.pass]);
      equal(addon.tunTransmit(plain.port, out.handle), 0);
      const unaided = readAll(far, 6).map((one) => one.bytes);
      equal(kernels.length, 6);
      deepEqual([ours, unaided], [kernels, kernels]);
      equal(addon.portCounters(near.port).tunGsoRefused, 1);
    });

    it.each(shapes)('counts a %s superpacket that is refused for good by its packets', (_, protocol, version, gso) => {
      const near = openEnd(io, 81, { vnetHeader: true, offload: true });
      const [whole, pieces] = [createPool(PACKET_BLOCK, 4), createPool(SMALL_BLOCK, 64)];
      const made = packet(protocol, version, 5 * 900 + 123);
      putPacket(whole, made, gso, 900);
      putPieces(pieces, made, gso, 900);
      addon.injectErrors(near.port, 'tun', [EIO, EIO]);
      for (const { handle } of [whole, pieces]) equal(addon.tunTransmit(near.port, handle), 0);
      deepEqual([whole.batch.verdict[0], pieces.batch.verdict[0]], [Verdict.tunRefused, Verdict.tunRefused]);
      equal(addon.portCounters(near.port).tunErrors, 2 * 6);
    });

    it('holds every block of what waits for the device, and goes on with the very segment that met EAGAIN', () => {
      const near = openEnd(io, 81, { vnetHeader: true, offload: true });
      const far = openEnd(io, 82, { vnetHeader: true, offload: false });
      const out = createPool(SMALL_BLOCK, 64);
      const made = packet('udp', 4, 4000);
      for (const port of [5001, 5002]) putPieces(out, packet('udp', 4, 4000, port), GsoType.udp, 1000);
      addon.injectErrors(near.port, 'tun', [EINVAL, 0, 0, EAGAIN]);
      equal(addon.tunTransmit(near.port, out.handle), 2);
      const held = new Set(out.batch.block.subarray(0, out.batch.header[0])).size;
      addon.clear(out.handle);
      equal(addon.freeBlocks(out.arena), 64 - held);
      while (addon.put(out.handle, 0, 0, undefined, new Uint8Array(1_900))); // whoever takes a free block now writes over it
      addon.clear(out.handle);
      equal(addon.wait(near.port, 200_000) & 8, 8);
      equal(addon.tunTransmit(near.port, out.handle), 0);
      const read = readAll(far, 8);
      deepEqual(
        read.map((one) => [(one.bytes[20] << 8) | one.bytes[21], one.bytes.length - 28]),
        [5001, 5001, 5001, 5001, 5002, 5002, 5002, 5002].map((port) => [port, 1000]),
      );
      const payload = Buffer.from(made.bytes.subarray(28));
      for (const flow of [read.slice(0, 4), read.slice(4)])
        deepEqual(Buffer.concat(flow.map((one) => one.bytes.subarray(28))), payload);
      equal(addon.freeBlocks(out.arena), 64);
    });

    it("refuses a superpacket with a piece that is nobody's, or too many of them, and writes the rest", () => {
      const near = openEnd(io, 81, { vnetHeader: true, offload: true });
      const far = openEnd(io, 82, { vnetHeader: true, offload: true });
      const out = createPool(SMALL_BLOCK, 128);
      const heads = [0, 1, 2].map(() => putPieces(out, packet('udp', 4, 4000), GsoType.udp, 1000));
      out.batch.offset[heads[0] + 2] = out.batch.bytes.length - 10;
      out.batch.block[heads[1] + 1] = 127; // held by none
      const long = putPacket(out, packet('udp', 4, 100));
      for (let i = 0; i < 69; i++) ok(addon.put(out.handle, 0, GsoType.piece, undefined, new Uint8Array(960)));
      const last = putPacket(out, packet('udp', 4, 77));
      equal(addon.tunTransmit(near.port, out.handle), 0);
      deepEqual(
        readAll(far, 2).map((one) => one.bytes.length - 28),
        [4000, 77],
      );
      const told = [...heads, long, last].map((entry) => [out.batch.verdict[entry], out.batch.error[entry]]);
      const refused = [Verdict.tunRefused, EFAULT];
      deepEqual(told, [refused, refused, [Verdict.pass, 0], refused, [Verdict.pass, 0]]);
      equal(addon.portCounters(near.port).tunErrors, 4 + 4 + 1);
    });

    it('drops and counts what the device refuses alone, and writes the rest in order', () => {
      const near = openEnd(io, 81, { vnetHeader: true, offload: true });
      const far = openEnd(io, 82, { vnetHeader: true, offload: true });
      const out = createPool(PACKET_BLOCK, 4);
      for (let i = 0; i < 5; i++) putPacket(out, packet('udp', 4, 100 + i));
      const bad = putPacket(out, { bytes: new Uint8Array(40).fill(0x99), start: 20, offset: 6, headerLength: 28 });
      out.batch.flags[bad] = 0; // neither IPv4 nor IPv6: EINVAL from the kernel itself
      addon.injectErrors(near.port, 'tun', [0, 0, EIO]);
      equal(addon.tunTransmit(near.port, out.handle), 0);
      const read = readAll(far, 4);
      deepEqual(
        read.map((one) => one.bytes.length - 28),
        [100, 101, 103, 104],
      );
      deepEqual([out.batch.verdict[2], out.batch.error[2]], [Verdict.tunRefused, EIO]);
      deepEqual([out.batch.verdict[bad], out.batch.error[bad]], [Verdict.tunRefused, EINVAL]);
      equal(addon.portCounters(near.port).tunErrors, 2);
    });

    it('drops and counts a packet of which the device took a part, and writes the rest in order', () => {
      const near = openEnd(io, 81, { vnetHeader: true, offload: true });
      const far = openEnd(io, 82, { vnetHeader: true, offload: true });
      const out = createPool(PACKET_BLOCK, 8);
      for (let i = 0; i < 5; i++) putPacket(out, packet('udp', 4, 100 + i));
      addon.injectErrors(near.port, 'tun', [0, -60, 0, 0, -127]); // the last one is 132 bytes long
      equal(addon.tunTransmit(near.port, out.handle), 0);
      const cut = [1, 4].map((entry) => [out.batch.verdict[entry], out.batch.error[entry]]);
      addon.clear(out.handle);
      putPacket(out, packet('udp', 4, 105)); // alone
      addon.injectErrors(near.port, 'tun', [-40]);
      equal(addon.tunTransmit(near.port, out.handle), 0);
      cut.push([out.batch.verdict[0], out.batch.error[0]]);
      deepEqual(cut, Array(3).fill([Verdict.tunRefused, 0]));
      putPacket(out, packet('udp', 4, 106));
      out.batch.verdict[0] = Verdict.noRoute;
      equal(addon.tunTransmit(near.port, out.handle), 0);
      deepEqual(
        readAll(far, 4).map((one) => one.bytes.length - 28),
        [100, 102, 103, 106],
      );
      const { tunErrors, sendErrors, tunPacketsOut, tunBytesOut } = addon.portCounters(near.port);
      deepEqual([tunErrors, sendErrors, tunPacketsOut, tunBytesOut], [3, 0, 4, 4 * 28 + 411]);
    });

    it.each([
      ['refused', EIO],
      ['cut', -5_000],
    ])('counts every segment of a superpacket that was %s, in one piece or in several', (_, injected) => {
      const near = openEnd(io, 81, { vnetHeader: true, offload: true });
      const far = openEnd(io, 82, { vnetHeader: true, offload: false });
      const [whole, pieces] = [createPool(PACKET_BLOCK, 4), createPool(SMALL_BLOCK, 64)];
      putPacket(whole, packet('tcp', 4, 19 * 1000 + 10), GsoType.tcp4, 1000);
      putPieces(pieces, packet('tcp', 4, 19 * 950 + 10), GsoType.tcp4, 950);
      for (const [times, { handle, batch }] of [whole, pieces].entries()) {
        addon.injectErrors(near.port, 'tun', [injected]);
        equal(addon.tunTransmit(near.port, handle), 0);
        equal(batch.verdict[0], Verdict.tunRefused);
        const { tunErrors, tunPacketsOut } = addon.portCounters(near.port);
        deepEqual([tunErrors, tunPacketsOut], [20 * (times + 1), 0]);
      }
      addon.clear(whole.handle);
      putPacket(whole, packet('udp', 4, 4_000), GsoType.udp, 1_000);
      addon.injectErrors(near.port, 'tun', [EINVAL, 0, -30]); // in a replay: one segment
      equal(addon.tunTransmit(near.port, whole.handle), 0);
      equal(readAll(far, 3).length, 3);
      equal(addon.portCounters(near.port).tunErrors, 41);
    });

    it('counts every segment that a device which is down refuses', () => {
      const near = openEnd(io, 81, { vnetHeader: true, offload: true });
      run('ip', '-n', space, 'link', 'set', near.name, 'down');
      const out = createPool(PACKET_BLOCK, 4);
      const entry = putPacket(out, packet('tcp', 4, 19 * 1000 + 10), GsoType.tcp4, 1000);
      putPacket(out, packet('udp', 4, 100));
      equal(addon.tunTransmit(near.port, out.handle), 0);
      deepEqual([out.batch.verdict[entry], out.batch.error[entry]], [Verdict.tunRefused, EIO]);
      equal(addon.portCounters(near.port).tunErrors, 21);
    });

    it('goes on with the very segment that met EAGAIN in a replay', () => {
      const near = openEnd(io, 81, { vnetHeader: true, offload: true });
      const far = openEnd(io, 82, { vnetHeader: true, offload: false });
      const out = createPool(PACKET_BLOCK, 4);
      putPacket(out, packet('udp', 4, 4000), GsoType.udp, 1000);
      putPacket(out, packet('udp', 4, 77));
      addon.injectErrors(near.port, 'tun', [EINVAL, 0, 0, EAGAIN]);
      equal(addon.tunTransmit(near.port, out.handle), 2);
      addon.clear(out.handle);
      equal(addon.wait(near.port, 200_000) & 8, 8);
      equal(addon.tunTransmit(near.port, out.handle), 0);
      const read = readAll(far, 5);
      deepEqual(
        read.map((one) => one.bytes.length - 28),
        [1000, 1000, 1000, 1000, 77],
      );
      equal(addon.freeBlocks(out.arena), 4);
    });

    it('reads 200 packets in order and gives their blocks back', () => {
      for (const multishotRead of [true, false]) {
        const near = openEnd(io, 81, { vnetHeader: true, offload: true });
        const far = openEnd(io, 82, { vnetHeader: true, offload: true, multishotRead });
        const out = createPool(PACKET_BLOCK, 8);
        const ports: number[] = [];
        for (let round = 0; round < 10; round++) {
          for (let i = 0; i < 20; i++) putPacket(out, packet('udp', 4, 60, 1000 + round * 20 + i));
          addon.tunTransmit(near.port, out.handle);
          addon.clear(out.handle);
          for (const one of readAll(far, 20)) ports.push((one.bytes[20] << 8) | one.bytes[21]);
        }
        deepEqual(
          ports,
          Array.from({ length: 200 }, (_, i) => 1000 + i),
        );
        equal(addon.freeBlocks(far.received.arena), 32);
        for (const close of opened.splice(0).reverse()) close();
      }
    });
  });

  it('attaches to a device that exists, whether it was made with one queue or with several', () => {
    const name = `rwio${process.pid % 10_000}p`;
    run('ip', 'tuntap', 'add', 'dev', name, 'mode', 'tun');
    try {
      const single = addon.openTun({ name, queues: 2, vnetHeader: true });
      deepEqual([single.name, single.existed, single.descriptors.length, single.mtu], [name, true, 1, 1500]);
      equal(addon.tunOffload(single.descriptors[0], true) & 7, 7);
      equal(addon.tunOffload(single.descriptors[0], false), 0);
      addon.closeDescriptor(single.descriptors[0]);
    } finally {
      run('ip', 'tuntap', 'del', 'dev', name, 'mode', 'tun');
    }
    const several = addon.openTun({ name, queues: 3, vnetHeader: true });
    deepEqual([several.existed, several.descriptors.length, addon.tunMtu(name)], [false, 3, 1500]);
    for (const descriptor of several.descriptors) addon.closeDescriptor(descriptor);
  });
});
