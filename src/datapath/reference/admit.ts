import { readU16, readU32 } from '../../packet/checksum.ts';
import { Ipv4, ipv4HeaderLength, verifyIpv4 } from '../../packet/ip.ts';
import { clampMss, rewriteAddress } from '../../packet/translate.ts';
import type { Micros } from '../../wire/time.ts';
import { type Batch, Flag, HEADER, Verdict } from '../batch.ts';
import { decide, isOnline, type ReferenceLanes, slotOf } from './lanes.ts';

/**
 * guard.admit: only whole IPv4 packets reach the inside, and their source is the session's lease, whatever the client wrote (protocol
 * specification §9.3): nothing is left to spoof. Checksums are verified as they came, before translation: a packet that was
 * wrong passes alone and unflagged, since the AEAD proves who wrote it and not that it is sound. Works in place; never throws.
 * @returns packets that pass
 */
export function admit(lanes: ReferenceLanes, packets: Batch, now: Micros): number {
  let passing = 0;
  for (let i = 0; i < packets.header[HEADER.count]; i++) {
    if (packets.verdict[i] !== Verdict.pass) continue;
    const slot = slotOf(lanes, packets, i);
    const verdict = slot < 0 || !isOnline(lanes, slot) ? Verdict.notOnline : checkIpv4(packets, i);
    if (verdict !== Verdict.pass) {
      decide(lanes, packets, i, verdict);
      continue;
    }
    // open has looked already; what came as frames is looked at here
    if ((packets.flags[i] & Flag.checksumValid) === 0 && isSound(packets.bytes, packets.offset[i], packets.length[i]))
      packets.flags[i] |= Flag.checksumValid;
    translateToInside(lanes, packets, i, slot);
    const limit = lanes.table.fields.mssClamp.get(slot); // what the inside may send back
    if (limit !== 0)
      clampMss(packets.bytes, packets.offset[i], headerLengthOf(packets, i), packets.length[i], limit, false);
    lanes.table.fields.lastInside.set(slot, now);
    passing++;
  }
  return passing;
}

/** Cuts what is behind the packet off its entry. @returns pass, malformed or notIpv4 */
export function checkIpv4({ bytes, offset, length }: Batch, i: number): number {
  if (length[i] < Ipv4.minLength) return Verdict.malformed;
  if (bytes[offset[i]] >> 4 !== 4) return Verdict.notIpv4;
  if (ipv4HeaderLength(bytes, offset[i], length[i]) === 0) return Verdict.malformed;
  length[i] = readU16(bytes, offset[i] + Ipv4.totalLength);
  return Verdict.pass;
}

function headerLengthOf({ bytes, offset, length }: Batch, i: number): number {
  return ipv4HeaderLength(bytes, offset[i], length[i]);
}

/** @returns whether an IPv4 packet of at most `length` bytes begins here, whole and with the right checksums */
export function isSound(bytes: Uint8Array, at: number, length: number): boolean {
  const headerLength = ipv4HeaderLength(bytes, at, length);
  return headerLength > 0 && verifyIpv4(bytes, at, headerLength);
}

function translateToInside({ table }: ReferenceLanes, { bytes, offset, length }: Batch, i: number, slot: number): void {
  const { openMatch, openReplace, openSource, openDestination } = table.fields;
  const at = offset[i];
  const match = openMatch.get(slot);
  const matched = match !== 0 && readU32(bytes, at + Ipv4.source) === match;
  const source = matched ? openReplace.get(slot) : openSource.get(slot);
  if (matched || source !== 0) rewriteAddress(bytes, at, length[i], Ipv4.source, source, false);
  const destination = openDestination.get(slot);
  if (destination !== 0) rewriteAddress(bytes, at, length[i], Ipv4.destination, destination, false);
}
