/** The other end of a tunnel: seals what a session is sent, by node:crypto and not by the code under test. */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { bytesOf, concat } from '../packet/packets.ts';

export const SUITES = { aes128: 0x1301, aes256: 0x1302, chacha20: 0x1303 } as const;
const CIPHERS = {
  [SUITES.aes128]: 'aes-128-gcm',
  [SUITES.aes256]: 'aes-256-gcm',
  [SUITES.chacha20]: 'chacha20-poly1305',
} as const;

export interface RecordKey {
  readonly suite: keyof typeof CIPHERS;
  readonly epoch: number;
  readonly key: Uint8Array;
  readonly iv: Uint8Array;
  readonly number: Uint8Array;
}

export function sealAead(
  suite: RecordKey['suite'],
  key: Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  plain: Uint8Array,
) {
  const cipher = createCipheriv(CIPHERS[suite] as 'aes-256-gcm', key, nonce, { authTagLength: 16 });
  cipher.setAAD(aad, { plaintextLength: plain.length });
  return concat(cipher.update(plain), cipher.final(), cipher.getAuthTag());
}

export function openAead(
  suite: RecordKey['suite'],
  key: Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  sealed: Uint8Array,
) {
  const decipher = createDecipheriv(CIPHERS[suite] as 'aes-256-gcm', key, nonce, { authTagLength: 16 });
  decipher.setAAD(aad, { plaintextLength: sealed.length - 16 });
  decipher.setAuthTag(sealed.subarray(-16));
  return concat(decipher.update(sealed.subarray(0, -16)), decipher.final());
}

/** Protocol specification §1.2. */
export function header(id: Uint8Array, expresslane: boolean, version: readonly [number, number] = [1, 3]): Uint8Array {
  return concat(
    bytesOf('u16', 0x4865, 'u8', version[0], 'u8', version[1], 'u8', 0, 'u8', expresslane ? 1 : 0, 'u16', 0),
    id,
  );
}

export interface LanePacket {
  readonly id: Uint8Array;
  readonly key: Uint8Array;
  readonly counter: bigint;
  readonly iv: Uint8Array;
  readonly flags: number;
  /** Whether the AAD covers the flags (version 2). */
  readonly version: 1 | 2;
  readonly packet: Uint8Array;
}

/** An Expresslane datagram without its Lightway header (§6.5). */
export function sealLane({ id, key, counter, iv, flags, version, packet }: LanePacket): Uint8Array {
  const aad = concat(id, bytesOf('u64', counter as never), version === 2 ? bytesOf('u16', flags) : new Uint8Array(0));
  const sealed = sealAead(SUITES.aes256, key, iv, aad, packet);
  const front = concat(bytesOf('u64', counter as never), iv, sealed.subarray(-16));
  return concat(front, bytesOf('u16', packet.length, 'u16', flags), sealed.subarray(0, -16));
}

export interface RecordForm {
  readonly longNumber: boolean;
  readonly withLength: boolean;
  readonly padding: number;
}

export const WHOLE: RecordForm = { longNumber: true, withLength: true, padding: 0 };

/** One DTLS 1.3 record (RFC 9147 §4). @param number as a whole; its low bits are written */
export function sealRecord(
  keys: RecordKey,
  number: number,
  contentType: number,
  content: Uint8Array,
  form = WHOLE,
): Uint8Array {
  const inner = concat(content, Uint8Array.of(contentType), new Uint8Array(form.padding));
  const first = 0x20 | (form.longNumber ? 8 : 0) | (form.withLength ? 4 : 0) | (keys.epoch & 3);
  const low = form.longNumber ? bytesOf('u16', number % 65_536) : bytesOf('u8', number % 256);
  const length = form.withLength ? bytesOf('u16', inner.length + 16) : new Uint8Array(0);
  const aad = concat(Uint8Array.of(first), low, length);
  const sealed = sealAead(keys.suite, keys.key, nonceOf(keys.iv, number), aad, inner);
  const mask = maskOf(keys, sealed);
  return concat(
    Uint8Array.of(first),
    low.map((byte, i) => byte ^ mask[i]),
    length,
    sealed,
  );
}

/** Opens a record in the form that `seal` writes. */
export function openRecord(
  keys: RecordKey,
  record: Uint8Array,
): { number: number; contentType: number; content: Uint8Array } {
  const sealed = record.subarray(5);
  const mask = maskOf(keys, sealed);
  const aad = concat(
    record.subarray(0, 1),
    record.subarray(1, 3).map((byte, i) => byte ^ mask[i]),
    record.subarray(3, 5),
  );
  const number = aad[1] * 256 + aad[2];
  const inner = openAead(keys.suite, keys.key, nonceOf(keys.iv, number), aad, sealed);
  return { number, contentType: inner[inner.length - 1], content: inner.slice(0, -1) };
}

function nonceOf(iv: Uint8Array, number: number): Uint8Array {
  const padded = concat(new Uint8Array(4), bytesOf('u64', number));
  return iv.map((byte, i) => byte ^ padded[i]);
}

function maskOf({ suite, number }: RecordKey, sealed: Uint8Array): Uint8Array {
  const sample = sealed.subarray(0, 16);
  if (suite === SUITES.chacha20) return createCipheriv('chacha20', number, sample).update(new Uint8Array(2));
  const name = suite === SUITES.aes128 ? 'aes-128-ecb' : 'aes-256-ecb';
  return createCipheriv(name, number, null).setAutoPadding(false).update(sample);
}

/** `05 | length | packet`. */
export function dataFrame(packet: Uint8Array): Uint8Array {
  return concat(bytesOf('u8', 5, 'u16', packet.length), packet);
}
