import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checksumOf, fold, readU16, sumWords } from '../../src/packet/checksum.ts';
import { Ipv4, ipv4HeaderLength, verifyIpv4 } from '../../src/packet/ip.ts';
import { clampMss, rewriteAddress } from '../../src/packet/translate.ts';
import { build, bytesOf, concat, ipv4, naiveChecksum, packets, pattern, TCP, tcps, UDP, udps } from './packets.ts';

const options = { seed: 11, numRuns: 300 };

describe('checksum', () => {
  it('equals a sum word by word at any offset, length and seed', () => {
    const inputs = fc.tuple(fc.uint8Array({ maxLength: 300 }), fc.nat(9), fc.nat(0xffff));
    fc.assert(
      fc.property(inputs, ([bytes, offset, seed]) => {
        const at = Math.min(offset, bytes.length);
        const part = bytes.subarray(at);
        expect(checksumOf(sumWords(bytes, at, part.length, seed))).toBe(naiveChecksum(bytesOf('u16', seed), part));
      }),
      options,
    );
  });

  it('folds sums far beyond 32 bits, and the sum of 65,535 bytes of ff', () => {
    expect(fold(0xffff * 2 ** 30)).toBe(0xffff);
    expect(checksumOf(sumWords(new Uint8Array(65_535).fill(0xff), 0, 65_535))).toBe(0x00ff);
  });

  it('finds the example of RFC 1071 §3', () => {
    expect(fold(sumWords(Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7), 0, 8))).toBe(0xddf2);
  });
});

describe('verification', () => {
  it('holds for built TCP and UDP packets, and for no packet with one flipped bit', () => {
    const inputs = fc.tuple(fc.oneof(tcps(200), udps(200)), fc.nat(), fc.nat(7));
    fc.assert(
      fc.property(inputs, ([packet, place, bit]) => {
        const bytes = build({ ...packet, fragment: 0x4000 });
        expect(verifyIpv4(bytes, 0, 20)).toBe(true);
        const at = place % bytes.length;
        bytes[at] ^= 1 << bit;
        const headerLength = ipv4HeaderLength(bytes, 0, bytes.length);
        const unprotected = packet.kind === 'udp' && !packet.checksum && at >= 20;
        if (headerLength > 0 && !unprotected) expect(verifyIpv4(bytes, 0, headerLength)).toBe(false);
      }),
      options,
    );
  });

  it('proves nothing about fragments, ICMP, and UDP whose length is not what IPv4 leaves', () => {
    expect(verifyIpv4(build({ ...UDP, fragment: 0x2000 }), 0, 20)).toBe(false);
    expect(verifyIpv4(build({ ...TCP, fragment: 0x0001 }), 0, 20)).toBe(false);
    expect(verifyIpv4(ipv4(UDP, 1, pattern(8)), 0, 20)).toBe(false);
    const udp = bytesOf('u16', 1, 'u16', 2, 'u16', 9, 'u16', 0);
    expect(verifyIpv4(ipv4(UDP, 17, udp), 0, 20)).toBe(false);
  });
});

describe('translation', () => {
  it('gives the packet that would have been built with the other address', () => {
    const inputs = fc.tuple(fc.oneof(tcps(64), udps(64)), fc.integer({ min: 1, max: 0xffff_ffff }), fc.boolean());
    fc.assert(
      fc.property(inputs, ([packet, address, source]) => {
        const first = packet.fragment & 0x1fff ? { ...packet, fragment: 0 } : packet;
        const bytes = build(first);
        const field = source ? Ipv4.source : Ipv4.destination;
        rewriteAddress(bytes, 0, bytes.length, field, address, false);
        const expected = build({ ...first, [source ? 'source' : 'destination']: address });
        // one's complement has two zeros: an updated TCP checksum may hold the other one than a fresh sum
        const at = 20 + (packet.kind === 'tcp' ? 16 : 6);
        if (readU16(bytes, at) % 0xffff === readU16(expected, at) % 0xffff)
          expected.set(bytes.subarray(at, at + 2), at);
        if (readU16(bytes, 10) % 0xffff === readU16(expected, 10) % 0xffff) expected.set(bytes.subarray(10, 12), 10);
        expect(bytes).toEqual(expected);
      }),
      options,
    );
  });

  it('leaves UDP without checksum, later fragments and ICMP alone but for address and header checksum', () => {
    const untouched = [
      build({ ...UDP, checksum: false, payload: pattern(9) }),
      build({ ...TCP, fragment: 5 }),
      ipv4(UDP, 1, pattern(8)),
    ];
    for (const bytes of untouched) {
      const body = bytes.slice(20);
      rewriteAddress(bytes, 0, bytes.length, Ipv4.source, 0x01020304, false);
      expect(bytes.subarray(20)).toEqual(body);
      expect(bytes.subarray(12, 16)).toEqual(Uint8Array.of(1, 2, 3, 4));
      expect(naiveChecksum(bytes.subarray(0, 20))).toBe(0);
    }
  });

  it('keeps a wrong checksum wrong, and a pseudo-header sum a pseudo-header sum', () => {
    const wrong = build(TCP);
    wrong[20 + 16] ^= 0x10;
    rewriteAddress(wrong, 0, wrong.length, Ipv4.source, 0x7f000001, false);
    expect(verifyIpv4(wrong, 0, 20)).toBe(false);
    const partial = build({ ...TCP, payload: pattern(100) });
    new DataView(partial.buffer).setUint16(36, fold(sumWords(partial, 12, 8, 6 + 120)));
    rewriteAddress(partial, 0, partial.length, Ipv4.destination, 0x08080808, true);
    expect(readU16(partial, 36)).toBe(fold(sumWords(partial, 12, 8, 6 + 120)));
  });

  it('reads no byte beyond the packet, whatever the packet is', () => {
    fc.assert(
      fc.property(packets(100), (bytes) => {
        const headerLength = ipv4HeaderLength(bytes, 0, bytes.length);
        if (headerLength === 0) return;
        const framed = concat(pattern(32, 3), bytes, pattern(32, 5));
        rewriteAddress(framed, 32, bytes.length, Ipv4.source, 0x7f000001, false);
        clampMss(framed, 32, headerLength, bytes.length, 500, false);
        expect(framed.subarray(0, 32)).toEqual(pattern(32, 3));
        expect(framed.subarray(32 + bytes.length)).toEqual(pattern(32, 5));
      }),
      options,
    );
  });
});

describe('MSS clamp', () => {
  const SYN = { ...TCP, flags: 2 };
  const mss = (value: number) => bytesOf('u8', 2, 'u8', 4, 'u16', value);
  const clamped = (bytes: Uint8Array, limit: number) => {
    clampMss(bytes, 0, 20, bytes.length, limit, false);
    return bytes;
  };

  it('lowers the option and leaves the checksum right, at even and at odd places', () => {
    for (const padding of [0, 1, 2, 3]) {
      const before = concat(new Uint8Array(padding).fill(1), mss(1460), new Uint8Array((4 - padding) % 4));
      const after = concat(new Uint8Array(padding).fill(1), mss(1298), new Uint8Array((4 - padding) % 4));
      expect(clamped(build({ ...SYN, options: before }), 1298)).toEqual(build({ ...SYN, options: after }));
    }
  });

  it('leaves a smaller option, a packet without SYN, a fragment and broken options as they are', () => {
    const same = [
      build({ ...SYN, options: mss(1000) }),
      build({ ...TCP, options: mss(1460) }),
      build({ ...SYN, options: mss(1460), fragment: 0x2000 }),
      build({ ...SYN, options: concat(bytesOf('u8', 3, 'u8', 1, 'u16', 0), mss(1460)) }),
      build({ ...SYN, options: concat(bytesOf('u8', 0, 'u8', 0, 'u16', 0), mss(1460)) }),
      build({ ...SYN, options: bytesOf('u8', 1, 'u8', 1, 'u8', 2, 'u8', 4) }),
    ];
    for (const bytes of same) expect(clamped(bytes.slice(), 1298)).toEqual(bytes);
  });
});
