/** The packets that a superpacket stands for, each by itself and with its checksum complete: for the reference nodes, and for what takes the slow path. */
import { checksumOf, sumWords, writeU16 } from '../packet/checksum.ts';
import { Ipv4, Ipv6, Protocol } from '../packet/ip.ts';
import { type Cut, Gso, planCut, segmentLength, writeSegment } from '../packet/segment.ts';
import { type Batch, Flag, HEADER, Verdict } from './batch.ts';

/** How an entry is to be cut: undefined for a packet that goes as it is, `false` when its hints do not fit its bytes (verdict badGso). */
export function cutOf(superpackets: Batch, entry: number): Cut | undefined | false {
  const { bytes, offset, length, kind, segmentSize, flags, checksumStart, checksumOffset } = superpackets;
  const partial = (flags[entry] & Flag.needsChecksum) !== 0;
  if (kind[entry] === Gso.none)
    return partial && checksumStart[entry] + checksumOffset[entry] + 2 > length[entry] ? false : undefined;
  return planCut(bytes, offset[entry], length[entry], kind[entry], segmentSize[entry], partial) ?? false;
}

/** Packets that a superpacket from the device stands for; 1 where it cannot be cut. */
export function segmentsIn(superpackets: Batch, entry: number): number {
  const cut = cutOf(superpackets, entry);
  return cut ? cut.segments : 1;
}

/** Of those from `consumed` on that pass, assembled ones as many as they stand for. */
export function packetsLeft({ header, verdict, length, segmentSize, headerLength }: Batch): number {
  let all = 0;
  for (let i = header[HEADER.consumed]; i < header[HEADER.count]; i++) {
    if (verdict[i] !== Verdict.pass) continue;
    const payload = length[i] - headerLength[i];
    all += segmentSize[i] === 0 || payload <= 0 ? 1 : Math.ceil(payload / segmentSize[i]);
  }
  return all;
}

/** Copies. @param cut what `cutOf` said of the entry */
export function innerPackets(superpackets: Batch, entry: number, cut: Cut | undefined): Uint8Array[] {
  const { bytes, offset, length, flags, checksumStart, checksumOffset } = superpackets;
  const at = offset[entry];
  const total = length[entry];
  if (!cut) {
    const packet = bytes.slice(at, at + total);
    if ((flags[entry] & Flag.needsChecksum) !== 0) finishChecksum(packet, checksumStart[entry], checksumOffset[entry]);
    return [packet];
  }
  return Array.from({ length: cut.segments }, (_, i) => {
    const packet = new Uint8Array(segmentLength(total, cut, i));
    writeSegment(bytes, at, total, cut, i, packet, 0);
    return packet;
  });
}

/** The field holds the pseudo-header sum already, and is part of what is summed (linux-facts §2). */
function finishChecksum(packet: Uint8Array, start: number, offset: number): void {
  const checksum = checksumOf(sumWords(packet, start, packet.length - start));
  const protocol = packet[packet[0] >> 4 === 6 ? Ipv6.nextHeader : Ipv4.protocol];
  writeU16(packet, start + offset, checksum === 0 && protocol === Protocol.udp ? 0xffff : checksum);
}
