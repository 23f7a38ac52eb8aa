import { createHmac, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseTokenKey, verifyToken } from '../../src/server/tokens.ts';

const NOW = 1_800_000_000;
const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const pem = rsa.publicKey.export({ type: 'spki', format: 'pem' }).toString();
const key = parseTokenKey(pem);

const encode = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

function token(claims: unknown, alg = 'RS256', hash = 'sha256', signer: KeyObject = rsa.privateKey): string {
  const text = `${encode({ alg, typ: 'JWT' })}.${encode(claims)}`;
  return `${text}.${sign(hash, Buffer.from(text), signer).toString('base64url')}`;
}

// Protocol specification §4.4, TESTED 5.9.1.
describe('verifyToken', () => {
  it.each([
    ['exp in the future', { exp: NOW + 60 }],
    ['exp 30 s ago', { exp: NOW - 30 }],
    ['nbf and iat in the future', { exp: NOW + 60, nbf: NOW + 9_999, iat: NOW + 9_999 }],
    ['any iss and sub', { exp: NOW + 60, iss: 'x', sub: 'y' }],
  ])('accepts %s', async (_name, claims) => {
    expect(await verifyToken(key, token(claims), NOW)).toBe('accepted');
  });

  it.each([
    ['exp 90 s ago', { exp: NOW - 90 }, 'expired'],
    ['no exp', { sub: 'y' }, 'no expiry'],
    ['an exp that is text', { exp: String(NOW + 60) }, 'no expiry'],
    ['an aud', { exp: NOW + 60, aud: 'x' }, 'audience'],
    ['a list of aud', { exp: NOW + 60, aud: ['x'] }, 'audience'],
    ['claims that are no object', [1], 'malformed'],
  ])('refuses %s', async (_name, claims, verdict) => {
    expect(await verifyToken(key, token(claims), NOW)).toBe(verdict);
  });

  it('refuses every other algorithm, also one that takes the public key for a shared secret', async () => {
    expect(await verifyToken(key, token({ exp: NOW + 60 }, 'RS384', 'sha384'), NOW)).toBe('wrong algorithm');
    expect(await verifyToken(key, `${encode({ alg: 'none' })}.${encode({ exp: NOW + 60 })}.`, NOW)).toBe(
      'wrong algorithm',
    );
    const text = `${encode({ alg: 'HS256' })}.${encode({ exp: NOW + 60 })}`;
    const forged = `${text}.${createHmac('sha256', pem).update(text).digest('base64url')}`;
    expect(await verifyToken(key, forged, NOW)).toBe('wrong algorithm');
  });

  it('refuses the signature of another key, and any changed byte', async () => {
    const other = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
    expect(await verifyToken(key, token({ exp: NOW + 60 }, 'RS256', 'sha256', other), NOW)).toBe('wrong signature');
    const good = token({ exp: NOW + 60 });
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.constantFrom(...'Aaz09-_.{'), async (at, letter) => {
        const bad = good.slice(0, at) + letter + good.slice(at + 1);
        // The last character of a part holds spare bits: another spelling of the same bytes is the same token.
        const bytes = (text: string) => text.split('.').map((part) => Buffer.from(part, 'base64url').toString('hex'));
        const verdict = await verifyToken(key, bad, NOW);
        if (bad === good) expect(verdict).toBe('accepted');
        else if (bytes(bad).join() !== bytes(good).join()) expect(verdict).not.toBe('accepted');
      }),
    );
  });

  it('throws nothing, whatever it is given', async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ maxLength: 200 }), async (text) => {
        expect(await verifyToken(key, text, NOW)).not.toBe('accepted');
      }),
    );
    expect(await verifyToken(key, `${'a'.repeat(1_400)}.b.c`, NOW)).toBe('malformed');
  });
});

describe('parseTokenKey', () => {
  it.each([
    ['garbage', 'nothing'],
    ['a private key', rsa.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()],
    [
      'an EC key',
      generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ type: 'spki', format: 'pem' }).toString(),
    ],
  ])('refuses %s', (_name, text) => {
    expect(() => parseTokenKey(text)).toThrow(expect.objectContaining({ code: 'TOKEN_KEY' }));
  });
});
