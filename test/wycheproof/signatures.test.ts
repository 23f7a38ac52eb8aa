import { createPublicKey } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Refusal } from '../../src/crypto/refusal.ts';
import { Scheme } from '../../src/crypto/schemes.ts';
import { verify } from '../../src/crypto/signatures.ts';
import { parseTokenKey, verifyToken } from '../../src/server/tokens.ts';
import { type Answer, bytes, type Group, report, tally } from './vectors.ts';

const files: [string, number, number][] = [
  ['ecdsa_secp256r1_sha256_test.json', Scheme.ecdsaSecp256r1Sha256, 484],
  ['ecdsa_secp384r1_sha384_test.json', Scheme.ecdsaSecp384r1Sha384, 504],
  ['ecdsa_secp521r1_sha512_test.json', Scheme.ecdsaSecp521r1Sha512, 542],
  ['ed25519_test.json', Scheme.ed25519, 151],
  ['rsa_pss_2048_sha256_mgf1_32_test.json', Scheme.rsaPssRsaeSha256, 108],
  ['rsa_pss_2048_sha384_mgf1_48_test.json', Scheme.rsaPssRsaeSha384, 141],
  ['rsa_pss_4096_sha512_mgf1_64_test.json', Scheme.rsaPssRsaeSha512, 179],
];

describe('signature verification', () => {
  it.each(files)('answers every case of %s', async (file, scheme, run) => {
    const found = await tally(file, (test, group): Answer => {
      const key = createPublicKey({
        key: Buffer.from(group.publicKeyDer as string, 'hex'),
        format: 'der',
        type: 'spki',
      });
      try {
        verify(scheme, bytes(test.msg), bytes(test.sig), key);
        return 'accepted';
      } catch (error) {
        return error instanceof Refusal && error.alert === 51 ? 'rejected' : { refused: `${error}` };
      }
    });
    report(file, 'verify', found);
    expect(found).toMatchObject({ run, refused: {}, wrong: [] });
  });
});

// ---- tokens -----------------------------------------------------------------------------------------------------------------

const BEFORE = 0;

/** The group's key as the product gets it: a PEM file with an RSA public key. */
function keyOf(group: Group) {
  if (group.public === undefined) return undefined; // a shared secret
  try {
    const pem = createPublicKey({ key: group.public as never, format: 'jwk' }).export({ format: 'pem', type: 'spki' });
    return parseTokenKey(pem as string);
  } catch {
    return undefined;
  }
}

describe('tokens', () => {
  it('let in no case that is invalid, and verify every RS256 signature', async () => {
    const file = 'json_web_signature_test.json';
    const found = await tally(file, async (test, group): Promise<Answer> => {
      const key = keyOf(group);
      if (!key) return { refused: 'no RSA public key' };
      const token = typeof test.jws === 'string' ? test.jws : JSON.stringify(test.jws);
      const verdict = await verifyToken(key, token, BEFORE);
      // none of the payloads has an expiry: a good signature ends at the claims, a bad one before them
      expect(verdict).not.toBe('accepted');
      if (verdict === 'wrong algorithm' && test.result === 'valid') return { refused: 'another algorithm than RS256' };
      const purpose = group.public as { use?: string; key_ops?: string[]; alg?: string };
      const isForSignatures = purpose.use !== 'enc' && !purpose.key_ops?.includes('encrypt');
      const isForRs256 = (purpose.alg ?? 'RS256') === 'RS256';
      const passed = verdict !== 'wrong algorithm' && verdict !== 'wrong signature' && hasReadableHeader(token);
      if (passed && !isForSignatures) return { refused: 'a key for encryption: PEM does not say what a key is for' };
      if (passed && !isForRs256) return { refused: 'a key for another algorithm: PEM does not say which' };
      return passed ? 'accepted' : 'rejected';
    });
    report(file, 'verifyToken', found);
    expect(found.wrong).toEqual([]);
    expect(found.run).toBe(291);
    expect(found.refused).toEqual({
      'no RSA public key': 83,
      'another algorithm than RS256': 24,
      'a key for another algorithm: PEM does not say which': 1,
      'a key for encryption: PEM does not say what a key is for': 2,
    });
  });
});

/** True when `malformed` can only have been said of the claims. */
function hasReadableHeader(token: string): boolean {
  const parts = token.split('.');
  try {
    return (
      parts.length === 3 &&
      token.length <= 1_347 &&
      typeof JSON.parse(Buffer.from(parts[0], 'base64url').toString()) === 'object'
    );
  } catch {
    return false;
  }
}
