import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fold, readU16, sumWords } from '../../src/packet/checksum.ts';
import { flowOf, pieceOf, Run } from '../../src/packet/coalesce.ts';
import { verifyIpv4 } from '../../src/packet/ip.ts';
import { Gso, planCut, segmentLength, writeSegment } from '../../src/packet/segment.ts';
import { build, buildTcp6, bytesOf, packets, pattern, TCP, type Tcp, UDP, type Udp } from './packets.ts';

/** Cuts a superpacket; throws where `planCut` refuses it. */
function segment(bytes: Uint8Array, kind: number, size: number, partial = true): Uint8Array[] {
  const cut = planCut(bytes, 0, bytes.length, kind, size, partial);
  if (!cut) throw new Error('refused');
  return Array.from({ length: cut.segments }, (_, i) => {
    const target = new Uint8Array(segmentLength(bytes.length, cut, i));
    expect(writeSegment(bytes, 0, bytes.length, cut, i, target, 0)).toBe(target.length);
    return target;
  });
}

/** Joins packets that all belong to one run; throws at the first that does not. */
function join(parts: readonly Uint8Array[]): { bytes: Uint8Array; kind: number } {
  const [first, ...rest] = parts.map((part) => pieceOf(part, 0, part.length));
  const run = new Run(first!);
  for (const piece of rest) if (!piece || !run.add(piece)) throw new Error('not joined');
  const bytes = new Uint8Array(run.length);
  run.write(bytes, 0);
  return { bytes, kind: run.kind };
}

const flows: fc.Arbitrary<{ packet: Tcp | Udp; size: number }> = fc
  .tuple(
    fc.boolean(),
    fc.integer({ min: 1, max: 900 }),
    fc.integer({ min: 1, max: 20_000 }),
    fc.nat(0xffff_ffff),
    fc.nat(3),
  )
  .map(([udp, size, length, sequence, variant]) => {
    const payload = pattern(udp ? Math.min(length, size * 64) : length, variant);
    const options = variant > 1 ? bytesOf('u8', 1, 'u8', 1, 'u8', 8, 'u8', 10, 'u32', 77, 'u32', 88) : TCP.options;
    const flags = variant % 2 ? 0x18 : 0x50;
    const packet = udp
      ? { ...UDP, payload, id: sequence & 0xffff }
      : { ...TCP, payload, sequence, options, flags, fragment: 0, id: 65_500 };
    return { packet, size };
  });

describe('segmentation', () => {
  it('gives packets that are sound, at most the segment size, and together the payload', () => {
    fc.assert(
      fc.property(flows, ({ packet, size }) => {
        const parts = segment(build(packet), packet.kind === 'tcp' ? Gso.tcp4 : Gso.udp, size);
        const headerLength = packet.kind === 'tcp' ? 40 + packet.options.length : 28;
        expect(parts.every((part) => verifyIpv4(part, 0, 20))).toBe(true);
        expect(parts.slice(0, -1).every((part) => part.length === headerLength + size)).toBe(true);
        expect(Buffer.concat(parts.map((part) => part.subarray(headerLength)))).toEqual(Buffer.from(packet.payload));
      }),
      { seed: 3, numRuns: 100 },
    );
  });

  it('is undone by coalescing: the superpacket comes back, but for its checksum field, which holds the pseudo-header sum', () => {
    fc.assert(
      fc.property(flows, ({ packet, size }) => {
        const whole = build(packet);
        const kind = packet.kind === 'tcp' ? Gso.tcp4 : Gso.udp;
        const parts = segment(whole, kind, size);
        const joined = join(parts);
        expect(joined.kind).toBe(parts.length > 1 ? kind : Gso.none);
        if (parts.length === 1) {
          expect(joined.bytes).toEqual(whole);
          return;
        }
        const at = packet.kind === 'tcp' ? 36 : 26;
        const pseudo = sumWords(whole, 12, 8, (packet.kind === 'tcp' ? 6 : 17) + whole.length - 20);
        new DataView(whole.buffer).setUint16(at, fold(pseudo));
        expect(joined.bytes).toEqual(whole);
        expect(segment(joined.bytes, kind, size)).toEqual(parts); // and cutting that gives the same packets again
      }),
      { seed: 5, numRuns: 100 },
    );
  });

  it('is undone by coalescing in IPv6 too', () => {
    const whole = buildTcp6({ ...TCP, payload: pattern(5000), flags: 0x18 });
    const parts = segment(whole, Gso.tcp6, 1300);
    expect(parts.map((part) => part.length)).toEqual([1360, 1360, 1360, 1160]);
    const joined = join(parts);
    expect(joined.kind).toBe(Gso.tcp6);
    expect(segment(joined.bytes, Gso.tcp6, 1300)).toEqual(parts);
  });

  it('counts identification and sequence on, keeps FIN and PSH for the last and CWR for the first', () => {
    const whole = build({ ...TCP, flags: 0x10 | 0x01 | 0x08 | 0x80 | 0x40, payload: pattern(250), id: 0xffff });
    const parts = segment(whole, Gso.tcp4, 100);
    expect(parts.map((part) => part[33])).toEqual([0xd0, 0x50, 0x59]);
    expect(parts.map((part) => readU16(part, 4))).toEqual([0xffff, 0, 1]);
    expect(parts.map((part) => new DataView(part.buffer).getUint32(24))).toEqual([
      0xffff_f000, 0xffff_f064, 0xffff_f0c8,
    ]);
  });

  it('keeps UDP without a checksum without one, and completes one that was left to it', () => {
    const none = build({ ...UDP, payload: pattern(30), checksum: false });
    expect(segment(none, Gso.udp, 10, false).map((part) => readU16(part, 26))).toEqual([0, 0, 0]);
    expect(segment(none, Gso.udp, 10, true).every((part) => readU16(part, 26) !== 0)).toBe(true);
  });

  it('refuses a segment size of 0, fragments, other protocols, IPv6 extensions and headers beyond the end', () => {
    const tcp = build({ ...TCP, payload: pattern(100) });
    const refused = (bytes: Uint8Array, kind: number, size = 50) =>
      expect(planCut(bytes, 0, bytes.length, kind, size, true)).toBeUndefined();
    refused(tcp, Gso.tcp4, 0);
    refused(tcp, Gso.tcp6);
    refused(tcp, Gso.udp);
    refused(tcp, Gso.none);
    refused(build({ ...TCP, payload: pattern(100), fragment: 0x2000 }), Gso.tcp4);
    refused(tcp.subarray(0, 39), Gso.tcp4);
    refused(build(UDP).subarray(0, 27), Gso.udp);
    const extended = buildTcp6(TCP);
    extended[6] = 0;
    refused(extended, Gso.tcp6);
    const short = tcp.slice();
    short[32] = 0x40;
    refused(short, Gso.tcp4);
  });

  it('throws for no packet at all, and reads nothing behind it', () => {
    fc.assert(
      fc.property(packets(300), fc.constantFrom(...Object.values(Gso)), fc.nat(400), (bytes, kind, size) => {
        const cut = planCut(bytes, 0, bytes.length, kind, size, true);
        if (cut) expect(segment(bytes, kind, size)).toHaveLength(cut.segments);
      }),
      { seed: 9, numRuns: 300 },
    );
  });
});

describe('coalescing', () => {
  const part = (change: Partial<Tcp> = {}) => build({ ...TCP, payload: pattern(100), ...change });
  const next = (change: Partial<Tcp> = {}) => part({ sequence: (TCP.sequence + 100) >>> 0, id: TCP.id + 1, ...change });

  it.each<[string, Partial<Tcp>]>([
    ['another acknowledgement', { acknowledgement: 8 }],
    ['another window', { window: 501 }],
    ['other options', { options: bytesOf('u32', 0x01010101) }],
    ['another TTL', { ttl: 63 }],
    ['another TOS', { tos: 1 }],
    ['DF cleared', { fragment: 0 }],
    ['ECE set', { flags: 0x50 }],
    ['a gap in the sequence', { sequence: (TCP.sequence + 101) >>> 0 }],
    ['a larger payload', { payload: pattern(101) }],
  ])('does not join a packet with %s', (_, change) => {
    const run = new Run(pieceOf(part(), 0, 140)!);
    const bytes = next(change);
    expect(run.add(pieceOf(bytes, 0, bytes.length)!)).toBe(false);
    expect(run.add(pieceOf(next(), 0, 140)!)).toBe(true);
  });

  it.each<[string, number]>([
    ['SYN', 0x12],
    ['FIN', 0x11],
    ['RST', 0x14],
    ['URG', 0x30],
    ['CWR', 0x90],
    ['no ACK', 0x08],
  ])('never joins a packet with %s', (_, flags) => {
    const bytes = part({ flags });
    expect(pieceOf(bytes, 0, bytes.length)).toBeUndefined();
  });

  it('ends a run at a short payload and at PSH', () => {
    for (const last of [next({ payload: pattern(99) }), next({ flags: 0x18 })]) {
      const run = new Run(pieceOf(part(), 0, 140)!);
      expect(run.add(pieceOf(last, 0, last.length)!)).toBe(true);
      expect(run.ended).toBe(true);
      const third = part({ sequence: (TCP.sequence + 200) >>> 0 });
      expect(run.add(pieceOf(third, 0, third.length)!)).toBe(false);
    }
  });

  it('without DF, joins only while the identification counts on', () => {
    const plain = (change: Partial<Tcp>) => part({ fragment: 0, ...change });
    const follower = plain({ sequence: (TCP.sequence + 100) >>> 0, id: TCP.id + 2 });
    expect(new Run(pieceOf(plain({}), 0, 140)!).add(pieceOf(follower, 0, 140)!)).toBe(false);
  });

  it('holds at most 64 UDP datagrams and 65,535 bytes', () => {
    const datagram = build({ ...UDP, payload: pattern(10), fragment: 0x4000 });
    const many = new Run(pieceOf(datagram, 0, 38)!);
    for (let i = 1; i < 64; i++) expect(many.add(pieceOf(datagram, 0, 38)!)).toBe(true);
    expect(many.add(pieceOf(datagram, 0, 38)!)).toBe(false);
    const large = build({ ...UDP, payload: pattern(32_760), fragment: 0x4000 });
    const big = new Run(pieceOf(large, 0, large.length)!);
    expect(big.add(pieceOf(large, 0, large.length)!)).toBe(false);
  });

  it('tells flows apart by protocol, addresses and ports, and knows packets without ports', () => {
    const flow = (bytes: Uint8Array) => flowOf(bytes, 0, bytes.length);
    expect(flow(part())).toEqual(flow(next()));
    expect(flow(part({ ports: [1, 2] })).ports).not.toBe(flow(part()).ports);
    expect(flow(part({ source: 1 })).hosts).not.toBe(flow(part()).hosts);
    expect(flow(part({ fragment: 1 }))).toEqual({ hosts: flow(part()).hosts, ports: undefined });
    expect(flow(new Uint8Array(0)).ports).toBeUndefined();
  });
});
