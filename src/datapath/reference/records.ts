/**
 * DTLS 1.3 records of a datagram (RFC 9147 §4, protocol specification §2.8): where they are, and what is in one.
 *
 *   0 0 1 C S L E E | number u8 or u16 (masked) | length u16, if L | content ‖ type ‖ zeros, sealed
 */
import { PLAINTEXT_HEADER } from '../../dtls/records.ts';
import { readU16, writeU16 } from '../../packet/checksum.ts';
import { aeadOpen, aeadSeal, numberMask, recordNonce, TAG_LENGTH } from './aead.ts';
import type { RecordSecret } from './secrets.ts';

const FORM_MASK = 0xe0;
const FORM = 0x20;
const CONNECTION_ID = 0x10;
const LONG_NUMBER = 0x08;
const WITH_LENGTH = 0x04;
const EPOCH_BITS = 0x03;
/** Content types that plaintext records begin with (RFC 9147 §4.1). */
const PLAINTEXT = { first: 20, last: 31 } as const;

/** More than any honest datagram carries; bounds the work that one can cause. */
const MAX_RECORDS = 32;
/** Record numbers have 48 bits on the wire of DTLS (RFC 9147 §4). */
const NUMBER_LIMIT = 2 ** 48;
const SAMPLE_LENGTH = 16;
export const RECORD_HEADER = 5;

export interface RecordPlace {
  readonly at: number;
  readonly numberLength: number;
  readonly headerLength: number;
  /** Bytes of ciphertext and tag. */
  readonly sealedLength: number;
  /** The full epoch that is installed for the header's two bits. */
  readonly epoch: number;
}

export interface RecordWalk {
  readonly records: readonly RecordPlace[];
  /** What is wrong with the rest, the first thing: records in plaintext, or of an epoch that is not installed, and what is behind the last record and none. */
  readonly wrong: 'malformed' | 'unprotected' | 'noKey' | undefined;
}

/** @param installed epoch (low bits in, full one out, 0 = none) */
export function walkRecords(
  bytes: Uint8Array,
  from: number,
  end: number,
  installed: (bits: number) => number,
): RecordWalk {
  const records: RecordPlace[] = [];
  let wrong: RecordWalk['wrong'];
  for (let at = from, walked = 0; at < end; walked++) {
    const first = bytes[at];
    if (walked < MAX_RECORDS && first >= PLAINTEXT.first && first <= PLAINTEXT.last) {
      wrong ??= 'unprotected';
      const length = plaintextLength(bytes, at, end);
      if (length === 0) break;
      at += length;
      continue;
    }
    if (walked === MAX_RECORDS || (first & FORM_MASK) !== FORM || (first & CONNECTION_ID) !== 0)
      return { records, wrong: wrong ?? 'malformed' };
    const epoch = installed(first & EPOCH_BITS);
    if (epoch === 0) wrong ??= 'noKey';
    const place = measure(bytes, at, end, epoch);
    if (!place) return { records, wrong: wrong ?? 'malformed' };
    if (epoch !== 0) records.push(place);
    at += place.headerLength + place.sealedLength;
  }
  return { records, wrong };
}

/** Bytes of a plaintext record with its header; 0 when it does not end in time. */
function plaintextLength(bytes: Uint8Array, at: number, end: number): number {
  if (at + PLAINTEXT_HEADER > end) return 0;
  const length = PLAINTEXT_HEADER + readU16(bytes, at + PLAINTEXT_HEADER - 2);
  return at + length <= end ? length : 0;
}

function measure(bytes: Uint8Array, at: number, end: number, epoch: number): RecordPlace | undefined {
  const numberLength = (bytes[at] & LONG_NUMBER) !== 0 ? 2 : 1;
  const withLength = (bytes[at] & WITH_LENGTH) !== 0;
  const headerLength = 1 + numberLength + (withLength ? 2 : 0);
  if (at + headerLength > end) return undefined;
  const sealedLength = withLength ? readU16(bytes, at + headerLength - 2) : end - at - headerLength;
  if (at + headerLength + sealedLength > end) return undefined;
  return { at, numberLength, headerLength, sealedLength, epoch };
}

/** True when there is room for a tag and a content type. */
export function isWhole(place: RecordPlace): boolean {
  return place.sealedLength > TAG_LENGTH;
}

export interface OpenRecord {
  readonly number: number;
  readonly contentType: number;
  readonly content: Uint8Array;
}

/**
 * Opens a record that `isWhole`, without a change to its bytes.
 * @param next one past the highest number seen @param isNew asked with the full number before anything is opened
 * @returns the record, or the verdict against it
 */
export function openRecord(
  bytes: Uint8Array,
  place: RecordPlace,
  secret: RecordSecret,
  next: number,
  isNew: (number: number) => boolean,
): OpenRecord | 'malformed' | 'replayed' | 'forged' {
  const sealed = bytes.subarray(place.at + place.headerLength, place.at + place.headerLength + place.sealedLength);
  const header = bytes.slice(place.at, place.at + place.headerLength);
  const mask = numberMask(secret.suite, secret.number, sealed.subarray(0, SAMPLE_LENGTH));
  for (let i = 0; i < place.numberLength; i++) header[1 + i] ^= mask[i];
  const low = place.numberLength === 2 ? readU16(header, 1) : header[1];
  const number = reconstruct(low, 256 ** place.numberLength, next);
  if (number >= NUMBER_LIMIT) return 'malformed';
  if (!isNew(number)) return 'replayed';
  const inner = aeadOpen(secret.suite, secret.key, recordNonce(secret.iv, number), header, sealed);
  if (!inner) return 'forged';
  let end = inner.length;
  while (end > 0 && inner[end - 1] === 0) end--;
  // a record of nothing but padding is malformed, yet its number is spent: content type 0 says so
  return { number, contentType: end > 0 ? inner[end - 1] : 0, content: inner.subarray(0, Math.max(0, end - 1)) };
}

/** The number with these low bits that is closest to the expected one (RFC 9147 §4.2.2). */
function reconstruct(low: number, size: number, next: number): number {
  const near = next - (next % size) + low;
  if (near > next + size / 2 && near >= size) return near - size;
  return near + size / 2 < next ? near + size : near;
}

/** Writes one whole record: 16-bit number, length, no padding. @returns its length @param inner content and content type */
export function sealRecord(
  target: Uint8Array,
  to: number,
  secret: RecordSecret,
  number: number,
  inner: Uint8Array,
): number {
  target[to] = FORM | LONG_NUMBER | WITH_LENGTH | (secret.epoch & EPOCH_BITS);
  writeU16(target, to + 1, number % 0x10000);
  writeU16(target, to + 3, inner.length + TAG_LENGTH);
  const header = target.subarray(to, to + RECORD_HEADER);
  const sealed = aeadSeal(secret.suite, secret.key, recordNonce(secret.iv, number), header, inner);
  target.set(sealed, to + RECORD_HEADER);
  const mask = numberMask(secret.suite, secret.number, sealed.subarray(0, SAMPLE_LENGTH));
  target[to + 1] ^= mask[0];
  target[to + 2] ^= mask[1];
  return RECORD_HEADER + sealed.length;
}
