/**
 * Secrets behind handles. DTLS computes with secrets it never sees: a native vault keeps them out of JavaScript memory,
 * the reference vault (`reference-vault.ts`) keeps them in arrays and is its oracle. Both pass `test/crypto/vault-suite.ts`.
 */

/** Cipher suites of TLS 1.3 (RFC 8446 appendix B.4). */
export const Suite = { aes128: 0x1301, aes256: 0x1302, chacha20: 0x1303 } as const;

export type HashName = 'sha256' | 'sha384';

/** Bytes added to the content of a record: 5 of header, 1 of content type, 16 of tag. */
export const RECORD_OVERHEAD = 22;

/** First byte of a unified header: 0 0 1 C S L E E, with no connection id, 16-bit number, length present (RFC 9147 §4). */
export const UNIFIED_HEADER = 0x2c;

/** Fewest bytes of ciphertext and tag: the mask of the record number is drawn from the first 16 (RFC 9147 §4.2.3). */
export const MIN_ENCRYPTED = 16;

/** The hash of a suite. @throws RangeError for a suite that is not one of `Suite` */
export function hashOf(suite: number): HashName {
  if (suite === Suite.aes256) return 'sha384';
  if (suite === Suite.aes128 || suite === Suite.chacha20) return 'sha256';
  throw new RangeError(`Expected a TLS 1.3 cipher suite for suite but received ${suite}`);
}

export function hashLength(hash: HashName): number {
  return hash === 'sha384' ? 48 : 32;
}

/** An opaque secret as long as its hash, or imported with any length. Zeroed by `destroy`; using it afterwards throws. */
export interface Secret {
  readonly hash: HashName;
  destroy(): void;
}

/** Key, IV and record-number key of one direction of one epoch. Zeroed by `destroy`; using it afterwards throws. */
export interface RecordKeys {
  readonly suite: number;
  destroy(): void;
}

export interface OpenedRecord {
  sequence: number;
  contentType: number;
  /** A copy, the caller's to keep. */
  content: Uint8Array;
}

export interface Vault {
  /** Hash of the chunks, one after another. */
  digest(hash: HashName, chunks: readonly Uint8Array[]): Uint8Array;

  /** Copies; the caller zeroes its bytes. Any length, for what an extraction takes in. */
  importSecret(hash: HashName, bytes: Uint8Array): Secret;

  /** HKDF-Extract; `undefined` stands for Hash.length zeros (RFC 8446 §7.1). */
  extract(hash: HashName, salt: Secret | undefined, ikm: Secret | undefined): Secret;

  /** HKDF-Expand-Label with the prefix `dtls13` (RFC 9147 §5.9), Hash.length bytes. */
  expand(secret: Secret, label: string, context: Uint8Array): Secret;

  /** verify_data under a handshake traffic secret (RFC 8446 §4.4.4). */
  finished(trafficSecret: Secret, transcriptHash: Uint8Array): Uint8Array;

  recordKeys(suite: number, trafficSecret: Secret): RecordKeys;

  /**
   * A whole DTLSCiphertext: header `0x2c | (epoch & 3)`, 16-bit number (encrypted), length, ciphertext, tag; no padding.
   * @param sequence 0 to 2^48-1; the caller never repeats one under the same keys
   */
  sealRecord(keys: RecordKeys, epoch: number, sequence: number, contentType: number, content: Uint8Array): Uint8Array;

  /**
   * Opens one whole record in any of the S and L header forms without connection id; with L=0 it takes all of `record`.
   * Which epoch the keys are of is the caller's knowledge: the two epoch bits are authenticated, not interpreted.
   * @param expected next expected number, from which the full one is reconstructed (RFC 9147 §4.2.2)
   * @returns undefined if not authentic or malformed; content type 0 if it was all padding (RFC 8446 §5.4)
   */
  openRecord(keys: RecordKeys, record: Uint8Array, expected: number): OpenedRecord | undefined;

  /** Compares in time that depends on the lengths only. */
  equal(a: Uint8Array, b: Uint8Array): boolean;

  /** For cookies. */
  hmacSha256(key: Secret, message: Uint8Array): Uint8Array;
}
