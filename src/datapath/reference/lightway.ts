/** The 16-byte Lightway header where it lies in a datagram (protocol specification §1.2), judged without an exception. */
import { Verdict } from '../batch.ts';

export const LIGHTWAY_HEADER = 16;

/** Byte offsets in the header. */
export const Lightway = { major: 2, minor: 3, expresslane: 5, id: 8 } as const;

/** What is wrong with the header of a datagram of `length` bytes, in the order of docs/contracts.md: a verdict, pass if nothing. */
export function judgeHeader(bytes: Uint8Array, at: number, length: number): number {
  if (length < LIGHTWAY_HEADER) return Verdict.tooShort;
  if (bytes[at] !== 0x48 || bytes[at + 1] !== 0x65) return Verdict.badMagic;
  const minor = bytes[at + Lightway.minor];
  if (bytes[at + Lightway.major] !== 1 || minor < 1 || minor > 3) return Verdict.badVersion;
  return isIdOf(bytes, at, 0xff) ? Verdict.rejectedId : Verdict.pass;
}

/** True for the id that a client sends while it has none. */
export function isEmptyId(bytes: Uint8Array, at: number): boolean {
  return isIdOf(bytes, at, 0);
}

function isIdOf(bytes: Uint8Array, at: number, byte: number): boolean {
  for (let i = 0; i < 8; i++) if (bytes[at + Lightway.id + i] !== byte) return false;
  return true;
}
