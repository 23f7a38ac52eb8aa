/**
 * Generic segmentation: cuts a superpacket into packets of MTU size, as a kernel or NIC would (linux-facts §2). One header
 * serves as the template of all; every length and checksum is made anew.
 */
import { checksumOf, readU16, readU32, sumWords, writeU16, writeU32 } from './checksum.ts';
import {
  Ipv4,
  Ipv6,
  isFragment,
  Protocol,
  pseudoHeaderSum4,
  pseudoHeaderSum6,
  Tcp,
  TcpFlag,
  tcpHeaderLength,
  Udp,
  writeIpv4Checksum,
} from './ip.ts';

/** `gso_type` of linux/virtio_net.h, without the ECN bit. */
export const Gso = { none: 0, tcp4: 1, tcp6: 4, udp: 5 } as const;

/** How a superpacket is to be cut. */
export interface Cut {
  readonly version: 4 | 6;
  readonly protocol: number;
  /** Bytes of the IP header. */
  readonly ipLength: number;
  /** Bytes of IP and transport header: what every segment begins with. */
  readonly headerLength: number;
  readonly segmentSize: number;
  readonly segments: number;
  /** UDP sent without a checksum stays without. */
  readonly noChecksum: boolean;
}

/**
 * Reads the headers; `hdr_len` of the virtio-net header is never trusted.
 * @param partial the transport checksum is not complete (VIRTIO_NET_HDR_F_NEEDS_CSUM): then 0 does not mean "none"
 * @returns undefined when the packet is not what `kind` says, is a fragment, or has no segment size
 */
export function planCut(
  bytes: Uint8Array,
  ip: number,
  length: number,
  kind: number,
  segmentSize: number,
  partial: boolean,
): Cut | undefined {
  if (segmentSize < 1 || length < 1) return undefined;
  const version = bytes[ip] >> 4;
  if (version === 4 ? kind !== Gso.tcp4 && kind !== Gso.udp : version !== 6 || (kind !== Gso.tcp6 && kind !== Gso.udp))
    return undefined;
  const ipLength = version === 4 ? (bytes[ip] & 15) * 4 : Ipv6.length;
  if (ipLength < Ipv4.minLength || ipLength > length) return undefined;
  if (version === 4 && isFragment(bytes, ip)) return undefined;
  const protocol = bytes[ip + (version === 4 ? Ipv4.protocol : Ipv6.nextHeader)];
  if (protocol !== (kind === Gso.udp ? Protocol.udp : Protocol.tcp)) return undefined;
  const transportLength = transportHeaderLength(bytes, ip + ipLength, length - ipLength, protocol);
  if (transportLength === 0) return undefined;
  const headerLength = ipLength + transportLength;
  const segments = Math.max(1, Math.ceil((length - headerLength) / segmentSize));
  const noChecksum = protocol === Protocol.udp && !partial && readU16(bytes, ip + ipLength + Udp.checksum) === 0;
  return { version: version as 4 | 6, protocol, ipLength, headerLength, segmentSize, segments, noChecksum };
}

function transportHeaderLength(bytes: Uint8Array, at: number, length: number, protocol: number): number {
  if (protocol === Protocol.tcp) return tcpHeaderLength(bytes, at, length);
  return length >= Udp.headerLength ? Udp.headerLength : 0;
}

/** Length of segment `index` of a superpacket of `length` bytes. */
export function segmentLength(length: number, cut: Cut, index: number): number {
  return cut.headerLength + Math.min(cut.segmentSize, length - cut.headerLength - index * cut.segmentSize);
}

/** How many bytes `count` segments from `first` on make as a superpacket of their own. */
export function sliceLength(length: number, cut: Cut, first: number, count: number): number {
  return (count - 1) * cut.segmentSize + segmentLength(length, cut, first + count - 1);
}

/**
 * Those segments as a superpacket, which is cut into the same ones. Its checksums stay as they were: cutting makes them anew.
 */
export function slice(
  bytes: Uint8Array,
  ip: number,
  length: number,
  cut: Cut,
  first: number,
  count: number,
): Uint8Array {
  const { ipLength, headerLength, segmentSize } = cut;
  const part = new Uint8Array(sliceLength(length, cut, first, count));
  const from = ip + headerLength + first * segmentSize;
  part.set(bytes.subarray(ip, ip + headerLength));
  part.set(bytes.subarray(from, from + part.length - headerLength), headerLength);
  if (cut.version === 4) {
    writeU16(part, Ipv4.totalLength, part.length);
    writeU16(part, Ipv4.id, (readU16(part, Ipv4.id) + first) & 0xffff);
  } else writeU16(part, Ipv6.payloadLength, part.length - ipLength);
  if (cut.protocol === Protocol.udp) {
    writeU16(part, ipLength + Udp.length, part.length - ipLength);
    return part;
  }
  const sequence = ipLength + Tcp.sequence;
  writeU32(part, sequence, (readU32(part, sequence) + first * segmentSize) >>> 0);
  if (first + count < cut.segments) part[ipLength + Tcp.flags] &= ~(TcpFlag.fin | TcpFlag.psh);
  if (first > 0) part[ipLength + Tcp.flags] &= ~TcpFlag.cwr;
  return part;
}

/** Writes segment `index` to `target` at `to`. @returns its length */
export function writeSegment(
  bytes: Uint8Array,
  ip: number,
  length: number,
  cut: Cut,
  index: number,
  target: Uint8Array,
  to: number,
): number {
  const { ipLength, headerLength, segmentSize } = cut;
  const size = segmentLength(length, cut, index);
  const from = ip + headerLength + index * segmentSize;
  target.set(bytes.subarray(ip, ip + headerLength), to);
  target.set(bytes.subarray(from, from + size - headerLength), to + headerLength);
  if (cut.version === 4) finishIpv4(target, to, size, ipLength, index);
  else writeU16(target, to + Ipv6.payloadLength, size - ipLength);
  if (cut.protocol === Protocol.tcp) finishTcp(target, to, size, cut, index);
  else finishUdp(target, to, size, cut);
  return size;
}

function finishIpv4(bytes: Uint8Array, ip: number, length: number, ipLength: number, index: number): void {
  writeU16(bytes, ip + Ipv4.totalLength, length);
  writeU16(bytes, ip + Ipv4.id, (readU16(bytes, ip + Ipv4.id) + index) & 0xffff);
  writeIpv4Checksum(bytes, ip, ipLength);
}

/** FIN and PSH belong to the last segment, CWR to the first (RFC 3168 §6.1.2). */
function finishTcp(bytes: Uint8Array, ip: number, length: number, cut: Cut, index: number): void {
  const tcp = ip + cut.ipLength;
  writeU32(bytes, tcp + Tcp.sequence, (readU32(bytes, tcp + Tcp.sequence) + index * cut.segmentSize) >>> 0);
  if (index < cut.segments - 1) bytes[tcp + Tcp.flags] &= ~(TcpFlag.fin | TcpFlag.psh);
  if (index > 0) bytes[tcp + Tcp.flags] &= ~TcpFlag.cwr;
  writeU16(bytes, tcp + Tcp.checksum, 0);
  writeU16(bytes, tcp + Tcp.checksum, transportChecksum(bytes, ip, length, cut));
}

/** A computed 0 is sent as 0xFFFF, since 0 means "none" (RFC 768). */
function finishUdp(bytes: Uint8Array, ip: number, length: number, cut: Cut): void {
  const udp = ip + cut.ipLength;
  writeU16(bytes, udp + Udp.length, length - cut.ipLength);
  writeU16(bytes, udp + Udp.checksum, 0);
  if (!cut.noChecksum) writeU16(bytes, udp + Udp.checksum, transportChecksum(bytes, ip, length, cut) || 0xffff);
}

function transportChecksum(bytes: Uint8Array, ip: number, length: number, cut: Cut): number {
  const size = length - cut.ipLength;
  const pseudo = cut.version === 4 ? pseudoHeaderSum4 : pseudoHeaderSum6;
  return checksumOf(sumWords(bytes, ip + cut.ipLength, size, pseudo(bytes, ip, cut.protocol, size)));
}
