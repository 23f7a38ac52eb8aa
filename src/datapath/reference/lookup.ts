import { readU32 } from '../../packet/checksum.ts';
import { Ipv4, ipv4HeaderLength, Protocol, TCP_HEADERS, Tcp, tcpHeaderLength, Udp } from '../../packet/ip.ts';
import { Gso } from '../../packet/segment.ts';
import { clampMss, rewriteAddress } from '../../packet/translate.ts';
import { type Batch, Flag, HEADER, Verdict } from '../batch.ts';
import { checkIpv4 } from './admit.ts';
import { decideSuperpacket, isOnline, isSuperseded, occupied, type ReferenceLanes } from './lanes.ts';

/**
 * routes.lookup: inner destination → session, then translation and the MSS clamp. A superpacket is looked at once, however many
 * segments it has. Packets longer than the path carries (mssClamp + 40) are diverted. Sets `slot`; works in place; never throws.
 * @returns superpackets that pass
 */
export function lookup(lanes: ReferenceLanes, superpackets: Batch): number {
  let passing = 0;
  for (let i = 0; i < superpackets.header[HEADER.count]; i++) {
    if (superpackets.verdict[i] !== Verdict.pass) continue;
    superpackets.slot[i] = -1;
    const verdict = route(lanes, superpackets, i);
    if (verdict !== Verdict.pass) decideSuperpacket(lanes, superpackets, i, verdict);
    else passing++;
  }
  return passing;
}

function route(lanes: ReferenceLanes, batch: Batch, i: number): number {
  const { bytes, offset, length } = batch;
  const shape = checkIpv4(batch, i);
  if (shape !== Verdict.pass) return shape;
  const at = offset[i];
  const destination = bytes.subarray(at + Ipv4.destination, at + Ipv4.destination + 4);
  const slot = occupied(lanes, lanes.single >= 0 ? lanes.single : lanes.index.get('inside', destination));
  if (slot < 0) return Verdict.noRoute;
  batch.slot[i] = slot;
  if (lanes.single < 0 && lanes.table.fields.shard.get(slot) !== lanes.shard) return Verdict.elsewhere;
  if (isSuperseded(lanes, slot)) return Verdict.superseded;
  if (!isOnline(lanes, slot)) return Verdict.notOnline;
  const headerLength = ipv4HeaderLength(bytes, at, length[i]);
  const partial = (batch.flags[i] & Flag.needsChecksum) !== 0;
  if (partial && !isPlainOffload(batch, i, headerLength)) return Verdict.badGso;
  translateToTunnel(lanes, batch, i, slot, partial);
  const limit = lanes.table.fields.mssClamp.get(slot);
  if (limit === 0) return Verdict.pass;
  clampMss(bytes, at, headerLength, length[i], limit, partial);
  return longest(batch, i, headerLength) > limit + TCP_HEADERS ? Verdict.divert : Verdict.pass;
}

/** Bytes of the longest packet that an entry stands for. */
function longest({ bytes, offset, length, kind, segmentSize }: Batch, i: number, headerLength: number): number {
  if (kind[i] === Gso.none) return length[i];
  const transport =
    kind[i] === Gso.udp ? Udp.headerLength : tcpHeaderLength(bytes, offset[i] + headerLength, length[i] - headerLength);
  return Math.min(length[i], headerLength + transport + segmentSize[i]);
}

/** The kernel may leave only a TCP or UDP checksum to us, where such a packet has it. */
function isPlainOffload(
  { bytes, offset, length, checksumStart, checksumOffset }: Batch,
  i: number,
  headerLength: number,
): boolean {
  const protocol = bytes[offset[i] + Ipv4.protocol];
  const field = protocol === Protocol.tcp ? Tcp.checksum : protocol === Protocol.udp ? Udp.checksum : -1;
  return checksumStart[i] === headerLength && checksumOffset[i] === field && headerLength + field + 2 <= length[i];
}

function translateToTunnel({ table }: ReferenceLanes, batch: Batch, i: number, slot: number, partial: boolean): void {
  const { sealMatch, sealReplace, sealSource, sealDestination } = table.fields;
  const { bytes, offset, length } = batch;
  const at = offset[i];
  const match = sealMatch.get(slot);
  const matched = match !== 0 && readU32(bytes, at + Ipv4.destination) === match;
  const destination = matched ? sealReplace.get(slot) : sealDestination.get(slot);
  if (matched || destination !== 0) rewriteAddress(bytes, at, length[i], Ipv4.destination, destination, partial);
  const source = sealSource.get(slot);
  if (source !== 0) rewriteAddress(bytes, at, length[i], Ipv4.source, source, partial);
}
