/**
 * The internet checksum (RFC 1071): the complement of the one's-complement sum of 16-bit big-endian words. Sums stay plain
 * numbers until they are folded: 2³⁷ words fit.
 */

/** Adds `length` bytes at `at` to `seed`; an odd last byte counts as its word's upper half. @returns an unfolded sum */
export function sumWords(bytes: Uint8Array, at: number, length: number, seed = 0): number {
  let sum = seed;
  const even = at + (length & ~1);
  for (let i = at; i < even; i += 2) sum += (bytes[i] << 8) | bytes[i + 1];
  return (length & 1) === 1 ? sum + (bytes[even] << 8) : sum;
}

/** Carries added back in until 16 bits are left. */
export function fold(sum: number): number {
  let folded = sum;
  while (folded > 0xffff) folded = (folded % 0x10000) + Math.floor(folded / 0x10000);
  return folded;
}

/** What goes into a checksum field that was zero (or left out) in the sum. */
export function checksumOf(sum: number): number {
  return ~fold(sum) & 0xffff;
}

/**
 * What a covered 32-bit field adds to an unfolded sum when it changes: `~m + m'` for both of its words (RFC 1624 §3).
 * The rest of the packet need not be read, and a checksum that was wrong stays wrong by as much.
 */
export function changeOf(before: number, after: number): number {
  return (~before >>> 16) + (~before & 0xffff) + (after >>> 16) + (after & 0xffff);
}

/** Equation 3 of RFC 1624: `~(~HC + ~m + m')`. */
export function updateChecksum(checksum: number, change: number): number {
  return checksumOf((~checksum & 0xffff) + change);
}

export function readU16(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}

export function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

export function readU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}

export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}
