/**
 * Generic receive offload: joins packets of one flow that follow each other into a superpacket which `segment.ts` would cut
 * into the same packets again, but for the identification of IPv4 packets with DF, which nobody reads. Everything else passes
 * as it came.
 */
import { checksumOf, fold, readU16, readU32, sumWords, writeU16 } from './checksum.ts';
import {
  Ipv4,
  Ipv6,
  isFragment,
  isLaterFragment,
  Protocol,
  pseudoHeaderSum4,
  pseudoHeaderSum6,
  Tcp,
  TcpFlag,
  tcpHeaderLength,
  Udp,
} from './ip.ts';
import { Gso } from './segment.ts';

/** What one IPv4 packet, or one IPv6 payload, may hold at most. */
const MAX_LENGTH = 65_535;
/** Segments of a UDP superpacket (UDP_MAX_SEGMENTS of linux/udp.h before 6.9). */
const MAX_UDP_SEGMENTS = 64;

const DONT_FRAGMENT = 0x4000;
/** ECE may be set throughout; SYN, FIN, RST, URG and CWR end a run. */
const COALESCED_FLAGS = TcpFlag.ack | TcpFlag.psh | TcpFlag.ece;

/** Which packets of a slot follow each other: version, protocol, addresses, and ports where there are any. */
export interface FlowId {
  /** Version, protocol and addresses. */
  readonly hosts: string;
  /** Undefined for a later fragment, another protocol, or a packet that ends before them. */
  readonly ports: number | undefined;
}

export function flowOf(bytes: Uint8Array, ip: number, length: number): FlowId {
  const version = length > 0 ? bytes[ip] >> 4 : 0;
  const whole = version === 4 ? length >= Ipv4.minLength : version === 6 && length >= Ipv6.length;
  if (!whole) return { hosts: 'none', ports: undefined };
  const protocol = bytes[ip + (version === 4 ? Ipv4.protocol : Ipv6.nextHeader)];
  const addresses = version === 4 ? bytes.subarray(ip + 12, ip + 20) : bytes.subarray(ip + 8, ip + 40);
  const hosts = `${version}/${protocol}/${addresses.join('.')}`;
  const transport = version === 4 ? (bytes[ip] & 15) * 4 : Ipv6.length;
  const hasPorts = protocol === Protocol.tcp || protocol === Protocol.udp;
  if (!hasPorts || transport + 4 > length || (version === 4 && isLaterFragment(bytes, ip)))
    return { hosts, ports: undefined };
  return { hosts, ports: readU32(bytes, ip + transport) };
}

/** A packet that may be joined, read once. */
export interface Piece {
  readonly bytes: Uint8Array;
  readonly ip: number;
  readonly length: number;
  readonly version: 4 | 6;
  readonly protocol: number;
  readonly ipLength: number;
  readonly headerLength: number;
  readonly payload: number;
}

/** @returns undefined for a packet that must pass alone. Its checksums have been verified by the caller. */
export function pieceOf(bytes: Uint8Array, ip: number, length: number): Piece | undefined {
  const ipLength = plainIpLength(bytes, ip, length);
  if (ipLength === 0) return undefined;
  const version = (bytes[ip] >> 4) as 4 | 6;
  const protocol = bytes[ip + (version === 4 ? Ipv4.protocol : Ipv6.nextHeader)];
  const at = ip + ipLength;
  const left = length - ipLength;
  let transportLength = 0;
  if (protocol === Protocol.tcp) transportLength = joinableTcp(bytes, at, left);
  else if (protocol === Protocol.udp) transportLength = joinableUdp(bytes, at, left);
  if (transportLength === 0 || transportLength === left) return undefined;
  const headerLength = ipLength + transportLength;
  return { bytes, ip, length, version, protocol, ipLength, headerLength, payload: length - headerLength };
}

/** @returns length of an IP header without options or extensions, of an unfragmented packet as long as it says; else 0 */
function plainIpLength(bytes: Uint8Array, ip: number, length: number): number {
  if (length >= Ipv4.minLength && bytes[ip] === 0x45)
    return readU16(bytes, ip + Ipv4.totalLength) === length && !isFragment(bytes, ip) ? Ipv4.minLength : 0;
  if (length >= Ipv6.length && bytes[ip] >> 4 === 6)
    return readU16(bytes, ip + Ipv6.payloadLength) === length - Ipv6.length ? Ipv6.length : 0;
  return 0;
}

function joinableTcp(bytes: Uint8Array, tcp: number, left: number): number {
  const headerLength = tcpHeaderLength(bytes, tcp, left);
  if (headerLength === 0 || (bytes[tcp + Tcp.dataOffset] & 15) !== 0) return 0;
  const flags = bytes[tcp + Tcp.flags];
  return (flags & TcpFlag.ack) !== 0 && (flags & ~COALESCED_FLAGS) === 0 ? headerLength : 0;
}

function joinableUdp(bytes: Uint8Array, udp: number, left: number): number {
  if (left < Udp.headerLength || readU16(bytes, udp + Udp.length) !== left) return 0;
  return readU16(bytes, udp + Udp.checksum) !== 0 ? Udp.headerLength : 0;
}

/** Packets joined so far. */
export class Run {
  readonly pieces: Piece[];
  length: number;

  constructor(first: Piece) {
    this.pieces = [first];
    this.length = first.length;
  }

  /** True when nothing may follow: a short payload or PSH came last. */
  get ended(): boolean {
    const last = this.pieces[this.pieces.length - 1];
    return last.payload < this.pieces[0].payload || hasPush(last);
  }

  /** Joins `next` if a cut of the superpacket would give it back unchanged. */
  add(next: Piece): boolean {
    if (this.ended || !this.#follows(next)) return false;
    this.pieces.push(next);
    this.length += next.payload;
    return true;
  }

  #follows(next: Piece): boolean {
    const first = this.pieces[0];
    if (next.payload > first.payload || next.headerLength !== first.headerLength) return false;
    const limit = first.version === 4 ? MAX_LENGTH : MAX_LENGTH + Ipv6.length;
    if (this.length + next.payload > limit) return false;
    const last = this.pieces[this.pieces.length - 1];
    if (
      first.version === 4
        ? !followsIpv4(last, next)
        : !sameBytes(first, next, 0, Ipv6.payloadLength) || !sameBytes(first, next, 7, 1)
    )
      return false;
    return first.protocol === Protocol.tcp ? this.#followsTcp(next) : this.pieces.length < MAX_UDP_SEGMENTS;
  }

  #followsTcp(next: Piece): boolean {
    const first = this.pieces[0];
    const tcp = first.ipLength;
    const expected = (readU32(first.bytes, first.ip + tcp + Tcp.sequence) + this.length - first.headerLength) >>> 0;
    if (readU32(next.bytes, next.ip + tcp + Tcp.sequence) !== expected) return false;
    const ece = TcpFlag.ece;
    if ((first.bytes[first.ip + tcp + Tcp.flags] & ece) !== (next.bytes[next.ip + tcp + Tcp.flags] & ece)) return false;
    return (
      sameBytes(first, next, tcp + Tcp.acknowledgement, 5) && // with the data offset
      sameBytes(first, next, tcp + Tcp.window, 2) &&
      sameBytes(first, next, tcp + Tcp.urgent, first.headerLength - tcp - Tcp.urgent) // and the options
    );
  }

  /** Kind of the superpacket: one of `Gso`, none for a run of one. */
  get kind(): number {
    const { version, protocol } = this.pieces[0];
    if (this.pieces.length === 1) return Gso.none;
    if (protocol === Protocol.udp) return Gso.udp;
    return version === 4 ? Gso.tcp4 : Gso.tcp6;
  }

  /** Writes the superpacket: its transport checksum field holds the folded pseudo-header sum. @param target `length` bytes at `to` */
  write(target: Uint8Array, to: number): void {
    const first = this.pieces[0];
    let at = to;
    for (const piece of this.pieces) {
      const from = piece.ip + (piece === first ? 0 : piece.headerLength);
      target.set(piece.bytes.subarray(from, piece.ip + piece.length), at);
      at += piece.ip + piece.length - from;
    }
    if (this.pieces.length > 1) this.#finish(target, to);
  }

  #finish(bytes: Uint8Array, ip: number): void {
    const { version, protocol, ipLength } = this.pieces[0];
    const transport = ip + ipLength;
    const size = this.length - ipLength;
    if (version === 4) {
      writeU16(bytes, ip + Ipv4.totalLength, this.length);
      writeU16(bytes, ip + Ipv4.checksum, 0);
      writeU16(bytes, ip + Ipv4.checksum, checksumOf(sumWords(bytes, ip, ipLength)));
    } else writeU16(bytes, ip + Ipv6.payloadLength, size);
    if (protocol === Protocol.udp) writeU16(bytes, transport + Udp.length, size);
    else if (hasPush(this.pieces[this.pieces.length - 1])) bytes[transport + Tcp.flags] |= TcpFlag.psh;
    const pseudo = (version === 4 ? pseudoHeaderSum4 : pseudoHeaderSum6)(bytes, ip, protocol, size);
    writeU16(bytes, transport + (protocol === Protocol.udp ? Udp.checksum : Tcp.checksum), fold(pseudo));
  }
}

/** TOS, TTL and flags word equal; identification counted on, unless nobody may cut the packets anyway. */
function followsIpv4(last: Piece, next: Piece): boolean {
  if (
    !sameBytes(last, next, Ipv4.tos, 1) ||
    !sameBytes(last, next, Ipv4.ttl, 1) ||
    !sameBytes(last, next, Ipv4.fragment, 2)
  )
    return false;
  if ((readU16(next.bytes, next.ip + Ipv4.fragment) & DONT_FRAGMENT) !== 0) return true;
  return readU16(next.bytes, next.ip + Ipv4.id) === ((readU16(last.bytes, last.ip + Ipv4.id) + 1) & 0xffff);
}

function hasPush({ protocol, bytes, ip, ipLength }: Piece): boolean {
  return protocol === Protocol.tcp && (bytes[ip + ipLength + Tcp.flags] & TcpFlag.psh) !== 0;
}

function sameBytes(a: Piece, b: Piece, from: number, count: number): boolean {
  for (let i = from; i < from + count; i++) if (a.bytes[a.ip + i] !== b.bytes[b.ip + i]) return false;
  return true;
}
