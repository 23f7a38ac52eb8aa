/**
 * Rewriting addresses and the TCP maximum segment size in place, checksums by the difference (protocol specification §9.3, RFC 1624).
 * Packets have been found sound by `ipv4HeaderLength` before.
 */
import { changeOf, checksumOf, fold, readU16, readU32, updateChecksum, writeU16, writeU32 } from './checksum.ts';
import { Ipv4, isFragment, isLaterFragment, Protocol, Tcp, TcpFlag, tcpHeaderLength, Udp } from './ip.ts';

/**
 * Writes an address of an IPv4 packet and corrects the checksums over it: the header's always, TCP's and UDP's where the
 * packet holds them and the field is inside; a UDP checksum of 0 means none and stays. Other protocols have none.
 * @param partial the transport field holds only the pseudo-header sum (VIRTIO_NET_HDR_F_NEEDS_CSUM)
 */
export function rewriteAddress(
  bytes: Uint8Array,
  ip: number,
  length: number,
  field: typeof Ipv4.source | typeof Ipv4.destination,
  address: number,
  partial: boolean,
): void {
  const before = readU32(bytes, ip + field);
  if (before === address) return;
  const change = changeOf(before, address);
  writeU32(bytes, ip + field, address);
  writeU16(bytes, ip + Ipv4.checksum, updateChecksum(readU16(bytes, ip + Ipv4.checksum), change));
  if (isLaterFragment(bytes, ip)) return;
  const protocol = bytes[ip + Ipv4.protocol];
  if (protocol !== Protocol.tcp && protocol !== Protocol.udp) return;
  const at = (bytes[ip] & 15) * 4 + (protocol === Protocol.tcp ? Tcp.checksum : Udp.checksum);
  if (at + 2 > length) return;
  const checksum = readU16(bytes, ip + at);
  if (partial) writeU16(bytes, ip + at, fold(checksum + change));
  else if (protocol === Protocol.tcp) writeU16(bytes, ip + at, updateChecksum(checksum, change));
  else if (checksum !== 0) writeU16(bytes, ip + at, updateChecksum(checksum, change) || 0xffff);
}

const OPTION_END = 0;
const OPTION_PADDING = 1;
const OPTION_MSS = 2;
const MSS_LENGTH = 4;

/** Lowers the MSS option of an unfragmented TCP SYN to `limit`: what the peer then sends fits into one datagram of ours. */
export function clampMss(
  bytes: Uint8Array,
  ip: number,
  headerLength: number,
  length: number,
  limit: number,
  partial: boolean,
): void {
  if (bytes[ip + Ipv4.protocol] !== Protocol.tcp || isFragment(bytes, ip)) return;
  const tcp = ip + headerLength;
  const tcpLength = tcpHeaderLength(bytes, tcp, length - headerLength);
  if (tcpLength === 0 || (bytes[tcp + Tcp.flags] & TcpFlag.syn) === 0) return;
  const at = findMss(bytes, tcp + Tcp.minLength, tcp + tcpLength);
  if (at === 0 || readU16(bytes, at) <= limit) return;
  const before = readU16(bytes, at);
  writeU16(bytes, at, limit);
  if (partial) return; // the sum over the segment is still to be made
  const change = ((at - tcp) & 1) === 0 ? (~before & 0xffff) + limit : (~swap(before) & 0xffff) + swap(limit);
  writeU16(bytes, tcp + Tcp.checksum, checksumOf((~readU16(bytes, tcp + Tcp.checksum) & 0xffff) + change));
}

/** @returns where the value of the first MSS option is, or 0 */
function findMss(bytes: Uint8Array, from: number, end: number): number {
  for (let at = from; at < end; ) {
    const kind = bytes[at];
    if (kind === OPTION_END) return 0;
    if (kind === OPTION_PADDING) {
      at++;
      continue;
    }
    const size = at + 1 < end ? bytes[at + 1] : 0;
    if (size < 2 || at + size > end) return 0;
    if (kind === OPTION_MSS && size === MSS_LENGTH) return at + 2;
    at += size;
  }
  return 0;
}

function swap(word: number): number {
  return ((word & 0xff) << 8) | (word >>> 8);
}
