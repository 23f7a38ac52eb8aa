/**
 * IP packets where they lie: every function takes the bytes and where the packet begins, and reads no further than `length`.
 * Headers: RFC 791 (IPv4), RFC 8200 (IPv6), RFC 9293 (TCP), RFC 768 (UDP).
 */
import { checksumOf, readU16, sumWords, writeU16 } from './checksum.ts';

export const Protocol = { icmp: 1, tcp: 6, udp: 17 } as const;

/** Byte offsets in an IPv4 header. */
export const Ipv4 = {
  tos: 1,
  totalLength: 2,
  id: 4,
  fragment: 6,
  ttl: 8,
  protocol: 9,
  checksum: 10,
  source: 12,
  destination: 16,
  minLength: 20,
} as const;

/** Byte offsets in an IPv6 header. Extension headers are not walked: nothing offloads packets that have them. */
export const Ipv6 = { payloadLength: 4, nextHeader: 6, hopLimit: 7, source: 8, destination: 24, length: 40 } as const;

/** Byte offsets in a TCP header. */
export const Tcp = {
  sequence: 4,
  acknowledgement: 8,
  dataOffset: 12,
  flags: 13,
  window: 14,
  checksum: 16,
  urgent: 18,
  minLength: 20,
} as const;

export const TcpFlag = { fin: 1, syn: 2, rst: 4, psh: 8, ack: 16, urg: 32, ece: 64, cwr: 128 } as const;

/** IPv4 and TCP headers without options: what a packet is longer than the segment in it. */
export const TCP_HEADERS = Ipv4.minLength + Tcp.minLength;

/** Byte offsets in a UDP header. */
export const Udp = { length: 4, checksum: 6, headerLength: 8 } as const;

const MORE_FRAGMENTS_AND_OFFSET = 0x3fff;
const FRAGMENT_OFFSET = 0x1fff;

/** @returns bytes of the IPv4 header, or 0 unless version, header length and total length fit into `length` */
export function ipv4HeaderLength(bytes: Uint8Array, at: number, length: number): number {
  if (length < Ipv4.minLength || bytes[at] >> 4 !== 4) return 0;
  const headerLength = (bytes[at] & 15) * 4;
  const total = readU16(bytes, at + Ipv4.totalLength);
  return headerLength >= Ipv4.minLength && headerLength <= total && total <= length ? headerLength : 0;
}

/** True for any part of a packet that was cut up, the first one included. */
export function isFragment(bytes: Uint8Array, at: number): boolean {
  return (readU16(bytes, at + Ipv4.fragment) & MORE_FRAGMENTS_AND_OFFSET) !== 0;
}

/** True for parts that do not begin with the transport header. */
export function isLaterFragment(bytes: Uint8Array, at: number): boolean {
  return (readU16(bytes, at + Ipv4.fragment) & FRAGMENT_OFFSET) !== 0;
}

/** @param at of the TCP header @param length left from there @returns its length, or 0 unless it is 20 to `length` bytes */
export function tcpHeaderLength(bytes: Uint8Array, at: number, length: number): number {
  if (length < Tcp.minLength) return 0;
  const headerLength = (bytes[at + Tcp.dataOffset] >> 4) * 4;
  return headerLength >= Tcp.minLength && headerLength <= length ? headerLength : 0;
}

/** Unfolded sum of the IPv4 pseudo-header: addresses, protocol, length of header and payload of the transport. */
export function pseudoHeaderSum4(bytes: Uint8Array, ip: number, protocol: number, transportLength: number): number {
  return sumWords(bytes, ip + Ipv4.source, 8, protocol + transportLength);
}

/** The same for IPv6 (RFC 8200 §8.1). */
export function pseudoHeaderSum6(bytes: Uint8Array, ip: number, protocol: number, transportLength: number): number {
  return sumWords(bytes, ip + Ipv6.source, 32, protocol + transportLength);
}

/** Writes the header checksum of an IPv4 packet afresh. */
export function writeIpv4Checksum(bytes: Uint8Array, ip: number, headerLength: number): void {
  writeU16(bytes, ip + Ipv4.checksum, 0);
  writeU16(bytes, ip + Ipv4.checksum, checksumOf(sumWords(bytes, ip, headerLength)));
}

/**
 * Whether header and transport checksum of a TCP or UDP packet in IPv4 hold (UDP without one counts). False for fragments and for other
 * protocols: there is nothing to prove them by. @param headerLength as `ipv4HeaderLength` gave it
 */
export function verifyIpv4(bytes: Uint8Array, ip: number, headerLength: number): boolean {
  if (isFragment(bytes, ip) || checksumOf(sumWords(bytes, ip, headerLength)) !== 0) return false;
  const protocol = bytes[ip + Ipv4.protocol];
  const at = ip + headerLength;
  const length = readU16(bytes, ip + Ipv4.totalLength) - headerLength;
  if (protocol === Protocol.tcp) {
    if (tcpHeaderLength(bytes, at, length) === 0) return false;
  } else if (protocol === Protocol.udp) {
    if (length < Udp.headerLength || readU16(bytes, at + Udp.length) !== length) return false;
    if (readU16(bytes, at + Udp.checksum) === 0) return true;
  } else return false;
  return checksumOf(sumWords(bytes, at, length, pseudoHeaderSum4(bytes, ip, protocol, length))) === 0;
}
