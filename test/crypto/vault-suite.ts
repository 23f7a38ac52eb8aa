/** What every vault must do, whatever is behind it. Call it with a factory inside a test file. */
import { createCipheriv, createHash, createHmac, hkdfSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type HashName, hashLength, hashOf, type Secret, Suite, type Vault } from '../../src/crypto/vault.ts';
import { DATAGRAMS, KEYS, SECRETS, valueAfter } from '../dtls/vectors.ts';

const SUITES = Object.values(Suite);
const HASHES: readonly HashName[] = ['sha256', 'sha384'];
const NONE = new Uint8Array(0);

const bytes = (minLength: number, maxLength: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength, maxLength });
const suites = fc.constantFrom(...SUITES);
const sequences = fc.oneof(fc.integer({ min: 0, max: 70_000 }), fc.integer({ min: 0, max: 2 ** 48 - 1 }));

/** HKDF-Expand-Label by node:crypto's HMAC. */
function expandByNode(hash: HashName, secret: Uint8Array, label: string, context: Uint8Array, length: number): Buffer {
  const name = Buffer.from(`dtls13${label}`);
  const info = Buffer.concat([
    Buffer.of(length >> 8, length & 0xff, name.length),
    name,
    Buffer.of(context.length),
    context,
  ]);
  const blocks: Buffer[] = [];
  for (let i = 1; Buffer.concat(blocks).length < length; i++) {
    const previous = blocks.at(-1) ?? Buffer.alloc(0);
    blocks.push(
      createHmac(hash, secret)
        .update(Buffer.concat([previous, info, Buffer.of(i)]))
        .digest(),
    );
  }
  return Buffer.concat(blocks).subarray(0, length);
}

/** A record sealed by node:crypto: the independent opinion. */
function sealByNode(
  suite: number,
  secret: Uint8Array,
  epoch: number,
  sequence: number,
  type: number,
  content: Uint8Array,
  form = 0x0c,
): Buffer {
  const hash = hashOf(suite);
  const keyLength = suite === Suite.aes128 ? 16 : 32;
  const key = expandByNode(hash, secret, 'key', NONE, keyLength);
  const nonce = expandByNode(hash, secret, 'iv', NONE, 12);
  const number = Buffer.alloc(12);
  number.writeBigUInt64BE(BigInt(sequence), 4);
  for (let i = 0; i < 12; i++) nonce[i] ^= number[i];
  const length = content.length + 17;
  const numberBytes = (form & 0x08) !== 0 ? [number[10], number[11]] : [number[11]];
  const lengthBytes = (form & 0x04) !== 0 ? [length >> 8, length & 0xff] : [];
  const header = Buffer.of(0x20 | form | (epoch & 3), ...numberBytes, ...lengthBytes);
  const name = { [Suite.aes128]: 'aes-128-gcm', [Suite.aes256]: 'aes-256-gcm', [Suite.chacha20]: 'chacha20-poly1305' }[
    suite
  ];
  const cipher = createCipheriv(name as 'aes-128-gcm', key, nonce, { authTagLength: 16 });
  cipher.setAAD(header, { plaintextLength: length - 16 });
  const sealed = Buffer.concat([
    cipher.update(Buffer.concat([content, Buffer.of(type)])),
    cipher.final(),
    cipher.getAuthTag(),
  ]);
  const mask = maskByNode(suite, expandByNode(hash, secret, 'sn', NONE, keyLength), sealed.subarray(0, 16));
  for (let i = 0; i < numberBytes.length; i++) header[1 + i] ^= mask[i];
  return Buffer.concat([header, sealed]);
}

function maskByNode(suite: number, sn: Buffer, sample: Buffer): Buffer {
  if (suite === Suite.chacha20) return createCipheriv('chacha20', sn, sample).update(Buffer.alloc(2));
  const cipher = createCipheriv(suite === Suite.aes128 ? 'aes-128-ecb' : 'aes-256-ecb', sn, null).setAutoPadding(false);
  return cipher.update(sample);
}

/** The bytes of a secret, seen from outside: what HMAC over them would give. Only SHA-256 secrets have that way out. */
function isSecretOf(vault: Vault, secret: Secret, expected: Uint8Array): boolean {
  const transcript = vault.digest(secret.hash, [NONE]);
  const finishedKey = expandByNode(secret.hash, expected, 'finished', NONE, hashLength(secret.hash));
  return createHmac(secret.hash, finishedKey).update(transcript).digest().equals(vault.finished(secret, transcript));
}

export function testVault(name: string, create: () => Vault): void {
  describe(`vault: ${name}`, () => {
    const vault = create();

    it('hashes chunks one after another, as node:crypto does', () => {
      fc.assert(
        fc.property(fc.constantFrom(...HASHES), fc.array(bytes(0, 200), { maxLength: 5 }), (hash, chunks) => {
          const expected = createHash(hash).update(Buffer.concat(chunks)).digest();
          expect(Buffer.from(vault.digest(hash, chunks))).toEqual(expected);
        }),
        { numRuns: 50 },
      );
    });

    it('extracts and expands as HKDF of node:crypto with the dtls13 prefix', () => {
      fc.assert(
        fc.property(
          fc.constantFrom(...HASHES),
          bytes(1, 100),
          bytes(1, 100),
          bytes(0, 64),
          (hash, salt, ikm, context) => {
            const length = hashLength(hash);
            const info = Buffer.concat([
              Buffer.of(0, length, 6 + 7),
              Buffer.from('dtls13derived'),
              Buffer.of(context.length),
              context,
            ]);
            const expected = Buffer.from(hkdfSync(hash, ikm, salt, info, length));
            const extracted = vault.extract(hash, vault.importSecret(hash, salt), vault.importSecret(hash, ikm));
            expect(isSecretOf(vault, vault.expand(extracted, 'derived', context), expected)).toBe(true);
          },
        ),
        { numRuns: 50 },
      );
    });

    it('takes an absent salt or key for zeros as long as the hash', () => {
      for (const hash of HASHES) {
        const zeros = vault.importSecret(hash, new Uint8Array(hashLength(hash)));
        const transcript = vault.digest(hash, [NONE]);
        const expected = vault.finished(vault.extract(hash, zeros, zeros), transcript);
        expect(vault.finished(vault.extract(hash, undefined, undefined), transcript)).toEqual(expected);
      }
    });

    it('reproduces the verify_data and the traffic update of appendix B', () => {
      const secret = vault.importSecret('sha384', SECRETS[2]);
      expect(isSecretOf(vault, vault.expand(secret, 'traffic upd', NONE), valueAfter('`traffic upd` of 3\\) ='))).toBe(
        true,
      );
    });

    it('opens every protected record of appendix B and seals the same bytes again', () => {
      // datagram (from B.5), traffic secret, epoch, number, content type
      const records = [
        [5, 1, 2, 0, 22],
        [6, 1, 2, 1, 22],
        [7, 1, 2, 2, 22],
        [8, 1, 2, 3, 22],
        [9, 0, 2, 0, 22],
        [10, 3, 3, 0, 26],
        [11, 2, 3, 0, 23],
        [12, 3, 3, 1, 22],
        [13, 2, 3, 1, 22],
        [14, 2, 3, 2, 26],
        [15, 3, 3, 2, 26],
      ];
      for (const [datagram, index, epoch, sequence, contentType] of records) {
        const keys = vault.recordKeys(Suite.aes256, vault.importSecret('sha384', SECRETS[index]));
        const record = DATAGRAMS[datagram - 1];
        const opened = vault.openRecord(keys, record, sequence);
        expect(opened).toMatchObject({ sequence, contentType });
        expect(Buffer.from(vault.sealRecord(keys, epoch, sequence, contentType, opened!.content))).toEqual(record);
      }
      expect(KEYS.length).toBe(4);
    });

    it('opens the close_notify of appendix B under updated keys', () => {
      const updated = vault.expand(vault.importSecret('sha384', SECRETS[2]), 'traffic upd', NONE);
      const opened = vault.openRecord(vault.recordKeys(Suite.aes256, updated), DATAGRAMS[15], 0);
      expect(opened).toEqual({ sequence: 0, contentType: 21, content: Uint8Array.of(1, 0) });
    });

    it('seals as node:crypto does, for any suite, number and content', () => {
      const secretOf = (suite: number): Uint8Array => new Uint8Array(hashLength(hashOf(suite))).fill(0x5c);
      fc.assert(
        fc.property(
          suites,
          sequences,
          fc.integer({ min: 0, max: 7 }),
          bytes(0, 1_500),
          (suite, sequence, epoch, content) => {
            const keys = vault.recordKeys(suite, vault.importSecret(hashOf(suite), secretOf(suite)));
            const expected = sealByNode(suite, secretOf(suite), epoch, sequence, 23, content);
            expect(Buffer.from(vault.sealRecord(keys, epoch, sequence, 23, content))).toEqual(expected);
          },
        ),
        { numRuns: 100 },
      );
    });

    it('opens every form of header: 8 or 16 bits of number, with and without length, and padding', () => {
      for (const suite of SUITES) {
        const secret = new Uint8Array(hashLength(hashOf(suite))).fill(3);
        const keys = vault.recordKeys(suite, vault.importSecret(hashOf(suite), secret));
        for (const form of [0x00, 0x04, 0x08, 0x0c]) {
          const record = sealByNode(suite, secret, 2, 300, 22, Buffer.from('text'), form);
          expect(vault.openRecord(keys, record, 290)).toMatchObject({ sequence: 300, contentType: 22 });
          const padded = sealByNode(suite, secret, 2, 301, 0, Buffer.from('text\x16\0\0', 'latin1'), form);
          const content = new Uint8Array(Buffer.from('text'));
          expect(vault.openRecord(keys, padded, 290)).toEqual({ sequence: 301, contentType: 22, content });
          const empty = sealByNode(suite, secret, 2, 302, 0, new Uint8Array(9), form);
          expect(vault.openRecord(keys, empty, 290)).toMatchObject({ contentType: 0 });
        }
      }
    });

    it('opens what it sealed when the number is within 32,767 of the expected one', () => {
      const keys = vault.recordKeys(Suite.aes128, vault.importSecret('sha256', new Uint8Array(32)));
      const offsets = fc.integer({ min: -32_767, max: 32_767 });
      fc.assert(
        fc.property(sequences, offsets, bytes(0, 100), (sequence, offset, content) => {
          const expected = Math.max(0, sequence + offset);
          const record = vault.sealRecord(keys, 3, sequence, 23, content);
          expect(vault.openRecord(keys, record, expected)).toEqual({ sequence, contentType: 23, content });
        }),
        { numRuns: 100 },
      );
    });

    it('refuses a record with any bit changed, cut anywhere, or longer than it says', () => {
      for (const suite of SUITES) {
        const keys = vault.recordKeys(
          suite,
          vault.importSecret(hashOf(suite), new Uint8Array(hashLength(hashOf(suite)))),
        );
        const record = vault.sealRecord(keys, 3, 5, 23, Uint8Array.of(1, 2, 3));
        for (let bit = 0; bit < record.length * 8; bit++) {
          const forged = record.slice();
          forged[bit >> 3] ^= 1 << (bit & 7);
          expect(vault.openRecord(keys, forged, 5), `bit ${bit}`).toBeUndefined();
        }
        for (let length = 0; length < record.length; length++) {
          expect(vault.openRecord(keys, record.subarray(0, length), 5), `length ${length}`).toBeUndefined();
        }
        expect(vault.openRecord(keys, Buffer.concat([record, Buffer.of(0)]), 5)).toBeUndefined();
      }
    });

    it('compares equal and unequal bytes', () => {
      expect(vault.equal(Uint8Array.of(1, 2), Uint8Array.of(1, 2))).toBe(true);
      expect(vault.equal(Uint8Array.of(1, 2), Uint8Array.of(1, 3))).toBe(false);
      expect(vault.equal(Uint8Array.of(1, 2), Uint8Array.of(1))).toBe(false);
    });

    it('authenticates as HMAC-SHA-256 of node:crypto', () => {
      const key = Buffer.from('a key of any length');
      const expected = createHmac('sha256', key).update('message').digest();
      expect(Buffer.from(vault.hmacSha256(vault.importSecret('sha256', key), Buffer.from('message')))).toEqual(
        expected,
      );
    });

    it('throws on secrets and keys that were destroyed', () => {
      const secret = vault.importSecret('sha256', new Uint8Array(32));
      const keys = vault.recordKeys(Suite.aes128, secret);
      secret.destroy();
      keys.destroy();
      expect(() => vault.expand(secret, 'derived', NONE)).toThrow(TypeError);
      expect(() => vault.recordKeys(Suite.aes128, secret)).toThrow(TypeError);
      expect(() => vault.sealRecord(keys, 3, 0, 23, NONE)).toThrow(TypeError);
      expect(() => vault.openRecord(keys, new Uint8Array(40).fill(0x2f), 0)).toThrow(TypeError);
      expect(() => secret.destroy()).not.toThrow();
    });

    it('keeps its own copy of what it imports', () => {
      const bytesOfSecret = new Uint8Array(32).fill(9);
      const secret = vault.importSecret('sha256', bytesOfSecret);
      bytesOfSecret.fill(0);
      expect(isSecretOf(vault, secret, new Uint8Array(32).fill(9))).toBe(true);
    });
  });
}
