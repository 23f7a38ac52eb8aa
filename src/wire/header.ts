// The 16 bytes in front of every UDP datagram (protocol specification §1.2 to §1.5). TCP has no header.
//
//    0     2     3     4      5      6        8
//    | He  | maj | min | aggr | lane | zero 2 | session id 8 |

import { Reader, WireError, Writer } from './reader.ts';
import type { Random } from './time.ts';

export const HEADER_SIZE = 16;

const MAGIC = 0x4865;

/** A protocol version. There are three objects of this type, so versions compare with `===`. */
export type Version = { readonly major: number; readonly minor: number };
export const VERSION_1_1: Version = Object.freeze({ major: 1, minor: 1 });
export const VERSION_1_2: Version = Object.freeze({ major: 1, minor: 2 });
export const VERSION_1_3: Version = Object.freeze({ major: 1, minor: 3 });

/** @throws WireError BAD_VERSION for anything but 1.1, 1.2 and 1.3 */
export function versionOf(major: number, minor: number): Version {
  if (major === 1 && minor === 3) return VERSION_1_3;
  if (major === 1 && minor === 2) return VERSION_1_2;
  if (major === 1 && minor === 1) return VERSION_1_1;
  throw new WireError('BAD_VERSION', `protocol version ${major}.${minor} is not one of 1.1, 1.2 and 1.3`);
}

/** Eight opaque bytes as one number, so that ids compare with `===` and key a `Map`. */
export type SessionId = bigint;

/** "No session yet": what a client sends until it has adopted an id. */
export const EMPTY: SessionId = 0n;

/** "I have no such session". Never an id, and never to be answered: two servers could reject each other for ever (§1.5). */
export const REJECTED: SessionId = 0xffff_ffff_ffff_ffffn;

/** Draws until `accept` agrees (a server steers by some bits of the id) and the id is not reserved. */
export function drawSessionId(random: Random, accept: (id: SessionId) => boolean = () => true): SessionId {
  for (;;) {
    const id = new Reader(random(8)).u64();
    if (id !== EMPTY && id !== REJECTED && accept(id)) return id;
  }
}

export type Header = { version: Version; aggressive: boolean; expresslane: boolean; sessionId: SessionId };

/** Reads the first 16 bytes of a datagram; what follows is not looked at. @throws WireError TRUNCATED, BAD_MAGIC, BAD_VERSION */
export function decodeHeader(datagram: Uint8Array): Header {
  if (datagram.length < HEADER_SIZE) throw new WireError('TRUNCATED', `a header has 16 bytes, not ${datagram.length}`);
  const from = new Reader(datagram);
  if (from.u16() !== MAGIC) throw new WireError('BAD_MAGIC', 'does not begin with "He"');
  const major = from.u8();
  const minor = from.u8();
  const aggressive = from.u8() !== 0;
  const expresslane = from.u8() !== 0;
  from.skip(2);
  return { sessionId: from.u64(), aggressive, expresslane, version: versionOf(major, minor) };
}

export function encodeHeader(header: Header): Uint8Array {
  const { version, aggressive, expresslane, sessionId } = header;
  const to = new Writer(HEADER_SIZE).u16(MAGIC).u8(version.major).u8(version.minor);
  return to
    .u8(aggressive ? 1 : 0)
    .u8(expresslane ? 1 : 0)
    .u16(0)
    .u64(sessionId).bytes;
}

/** The whole answer to a datagram of an unknown session: a header alone, always of version 1.1 (§1.5). */
export function rejectDatagram(): Uint8Array {
  return encodeHeader({ version: VERSION_1_1, aggressive: false, expresslane: false, sessionId: REJECTED });
}
