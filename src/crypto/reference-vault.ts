/** The vault in plain TypeScript over @noble: oracle of the native one, and last resort. Its secrets live in arrays. */
import { ecb, gcm } from '@noble/ciphers/aes.js';
import { chacha20, chacha20poly1305 } from '@noble/ciphers/chacha.js';
import { expand, extract } from '@noble/hashes/hkdf.js';
import { hmac } from '@noble/hashes/hmac.js';
import { sha256, sha384 } from '@noble/hashes/sha2.js';
import {
  type HashName,
  hashLength,
  hashOf,
  MIN_ENCRYPTED,
  type OpenedRecord,
  type RecordKeys,
  type Secret,
  Suite,
  UNIFIED_HEADER,
  type Vault,
} from './vault.ts';

const HASH = { sha256, sha384 } as const;
const TAG_LENGTH = 16;
const IV_LENGTH = 12;
const LABEL_PREFIX = 'dtls13'; // RFC 9147 §5.9: no space after it, unlike "tls13 "
const NO_CONTEXT = new Uint8Array(0);

class ArraySecret implements Secret {
  readonly hash: HashName;
  #bytes: Uint8Array | undefined;

  constructor(hash: HashName, bytes: Uint8Array) {
    this.hash = hash;
    this.#bytes = bytes;
  }

  static bytesOf(secret: Secret): Uint8Array {
    if (!(secret instanceof ArraySecret)) throw new TypeError('Expected a secret of this vault for secret');
    if (secret.#bytes === undefined) throw new TypeError('Expected a live secret for secret but it was destroyed');
    return secret.#bytes;
  }

  destroy(): void {
    this.#bytes?.fill(0);
    this.#bytes = undefined;
  }
}

interface KeyBytes {
  readonly key: Uint8Array;
  readonly iv: Uint8Array;
  readonly sn: Uint8Array;
}

class ArrayKeys implements RecordKeys {
  readonly suite: number;
  #bytes: KeyBytes | undefined;

  constructor(suite: number, bytes: KeyBytes) {
    this.suite = suite;
    this.#bytes = bytes;
  }

  static bytesOf(keys: RecordKeys): KeyBytes {
    if (!(keys instanceof ArrayKeys)) throw new TypeError('Expected keys of this vault for keys');
    if (keys.#bytes === undefined) throw new TypeError('Expected live keys for keys but they were destroyed');
    return keys.#bytes;
  }

  destroy(): void {
    for (const bytes of Object.values(this.#bytes ?? {})) bytes.fill(0);
    this.#bytes = undefined;
  }
}

export function createReferenceVault(): Vault {
  return {
    digest,
    importSecret,
    extract: extractSecret,
    expand: expandSecret,
    finished,
    recordKeys,
    sealRecord,
    openRecord,
    equal,
    hmacSha256,
  };
}

function digest(hash: HashName, chunks: readonly Uint8Array[]): Uint8Array {
  const state = HASH[hash].create();
  for (const chunk of chunks) state.update(chunk);
  return state.digest();
}

function importSecret(hash: HashName, bytes: Uint8Array): Secret {
  return new ArraySecret(hash, new Uint8Array(bytes));
}

function extractSecret(hash: HashName, salt: Secret | undefined, ikm: Secret | undefined): Secret {
  const zeros = new Uint8Array(hashLength(hash));
  const from = (secret: Secret | undefined): Uint8Array => (secret === undefined ? zeros : ArraySecret.bytesOf(secret));
  return new ArraySecret(hash, extract(HASH[hash], from(ikm), from(salt)));
}

function expandSecret(secret: Secret, label: string, context: Uint8Array): Secret {
  return new ArraySecret(secret.hash, expandLabel(secret, label, context, hashLength(secret.hash)));
}

/** HKDF-Expand-Label: `length u16 | label u8 + "dtls13" + name | context u8 + bytes` (RFC 8446 §7.1). */
function expandLabel(secret: Secret, label: string, context: Uint8Array, length: number): Uint8Array {
  const name = Buffer.from(LABEL_PREFIX + label, 'latin1');
  if (name.length > 255 || context.length > 255)
    throw new RangeError('Expected label and context of at most 255 bytes');
  const info = Uint8Array.of(length >> 8, length & 0xff, name.length, ...name, context.length, ...context);
  return expand(HASH[secret.hash], ArraySecret.bytesOf(secret), info, length);
}

function finished(trafficSecret: Secret, transcriptHash: Uint8Array): Uint8Array {
  const key = expandLabel(trafficSecret, 'finished', NO_CONTEXT, hashLength(trafficSecret.hash));
  const verifyData = hmac(HASH[trafficSecret.hash], key, transcriptHash);
  key.fill(0);
  return verifyData;
}

function recordKeys(suite: number, trafficSecret: Secret): RecordKeys {
  if (hashOf(suite) !== trafficSecret.hash)
    throw new TypeError('Expected a secret of the hash of suite for trafficSecret');
  const keyLength = suite === Suite.aes128 ? 16 : 32;
  return new ArrayKeys(suite, {
    key: expandLabel(trafficSecret, 'key', NO_CONTEXT, keyLength),
    iv: expandLabel(trafficSecret, 'iv', NO_CONTEXT, IV_LENGTH),
    sn: expandLabel(trafficSecret, 'sn', NO_CONTEXT, keyLength),
  });
}

function sealRecord(
  keys: RecordKeys,
  epoch: number,
  sequence: number,
  contentType: number,
  content: Uint8Array,
): Uint8Array {
  const bytes = ArrayKeys.bytesOf(keys);
  const inner = new Uint8Array(content.length + 1);
  inner.set(content);
  inner[content.length] = contentType;
  const length = inner.length + TAG_LENGTH;
  if (length > 0xffff) throw new RangeError(`Expected at most 65,518 bytes for content but received ${content.length}`);
  const record = new Uint8Array(5 + length);
  record[0] = UNIFIED_HEADER | (epoch & 3);
  record[1] = (sequence >>> 8) & 0xff; // the low 16 bits: `>>>` truncates to 32 first, which keeps them
  record[2] = sequence & 0xff;
  record[3] = length >> 8;
  record[4] = length & 0xff;
  record.set(aead(keys.suite, bytes, sequence, record.subarray(0, 5)).encrypt(inner), 5);
  maskNumber(keys.suite, bytes.sn, record, 2, 5);
  return record;
}

function openRecord(keys: RecordKeys, record: Uint8Array, expected: number): OpenedRecord | undefined {
  const bytes = ArrayKeys.bytesOf(keys);
  const first = record[0];
  if (record.length === 0 || (first & 0xf0) !== 0x20) return undefined; // not 001, or with a connection id
  const numberLength = (first & 0x08) !== 0 ? 2 : 1;
  const headerLength = 1 + numberLength + ((first & 0x04) !== 0 ? 2 : 0);
  if (record.length - headerLength < MIN_ENCRYPTED + 1) return undefined; // a tag and at least the content type
  const whole = new Uint8Array(record); // `slice` of a Buffer would be a view
  if ((first & 0x04) !== 0) {
    const length = whole[headerLength - 2] * 256 + whole[headerLength - 1];
    if (length !== whole.length - headerLength) return undefined;
  }
  maskNumber(keys.suite, bytes.sn, whole, numberLength, headerLength);
  const low = numberLength === 2 ? whole[1] * 256 + whole[2] : whole[1];
  const sequence = reconstruct(low, numberLength === 2 ? 0x10000 : 0x100, expected);
  const inner = decrypt(keys.suite, bytes, sequence, whole, headerLength);
  if (inner === undefined) return undefined;
  let end = inner.length;
  while (end > 0 && inner[end - 1] === 0) end--;
  if (end === 0) return { sequence, contentType: 0, content: new Uint8Array(0) };
  return { sequence, contentType: inner[end - 1], content: inner.slice(0, end - 1) };
}

function decrypt(
  suite: number,
  bytes: KeyBytes,
  sequence: number,
  whole: Uint8Array,
  at: number,
): Uint8Array | undefined {
  try {
    return aead(suite, bytes, sequence, whole.subarray(0, at)).decrypt(whole.subarray(at));
  } catch {
    return undefined; // the tag is wrong: the only way decrypting bytes of this length throws
  }
}

/** The number with these low bits that is closest to the expected one and not negative (RFC 9147 §4.2.2). */
export function reconstruct(low: number, modulus: number, expected: number): number {
  const base = expected - (expected % modulus) + low;
  if (base > expected + modulus / 2 && base >= modulus) return base - modulus;
  if (base < expected - modulus / 2) return base + modulus;
  return base;
}

function aead(suite: number, bytes: KeyBytes, sequence: number, header: Uint8Array): ReturnType<typeof gcm> {
  const nonce = bytes.iv.slice();
  const high = Math.floor(sequence / 0x1_0000_0000);
  for (let i = 0; i < 4; i++) nonce[4 + i] ^= (high >>> (24 - 8 * i)) & 0xff;
  for (let i = 0; i < 4; i++) nonce[8 + i] ^= (sequence >>> (24 - 8 * i)) & 0xff;
  return (suite === Suite.chacha20 ? chacha20poly1305 : gcm)(bytes.key, nonce, header);
}

/** XORs the number with its mask, which the first 16 bytes of ciphertext give (RFC 9147 §4.2.3). Its own inverse. */
function maskNumber(
  suite: number,
  sn: Uint8Array,
  record: Uint8Array,
  numberLength: number,
  headerLength: number,
): void {
  const sample = record.slice(headerLength, headerLength + MIN_ENCRYPTED);
  const mask = suite === Suite.chacha20 ? chachaMask(sn, sample) : ecb(sn, { disablePadding: true }).encrypt(sample);
  for (let i = 0; i < numberLength; i++) record[1 + i] ^= mask[i];
}

function chachaMask(sn: Uint8Array, sample: Uint8Array): Uint8Array {
  const counter = new DataView(sample.buffer).getUint32(0, true);
  return chacha20(sn, sample.subarray(4), new Uint8Array(2), undefined, counter);
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a[i] ^ b[i];
  return difference === 0;
}

function hmacSha256(key: Secret, message: Uint8Array): Uint8Array {
  return hmac(sha256, ArraySecret.bytesOf(key), message);
}
