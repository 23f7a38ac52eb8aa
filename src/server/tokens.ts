/**
 * Tokens (protocol specification §4.4): a JWT signed with RS256, and with nothing else. What the stock server accepts and refuses,
 * it accepts and refuses: `exp` is needed and may be 60 s ago, any `aud` is refused, `nbf`, `iat`, `iss` and `sub` do not matter.
 */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { compactVerify } from 'jose';
import { RingwayError } from '../errors.ts';

const LEEWAY_SECONDS = 60;
const LONGEST_TOKEN = 1_347; // what an AuthRequest carries (§3.5)

/** Why a token does not let its bearer in: goes to the log, never to the peer. */
export type TokenVerdict =
  | 'accepted'
  | 'malformed'
  | 'wrong algorithm'
  | 'wrong signature'
  | 'no expiry'
  | 'expired'
  | 'audience';

/** @throws RingwayError TOKEN_KEY unless this is an RSA public key in PEM */
export function parseTokenKey(pem: string, file = 'token_rsa_pub_key_pem'): KeyObject {
  let key: KeyObject | undefined;
  let cause: unknown;
  try {
    key = createPublicKey({ key: pem, format: 'pem' });
  } catch (error) {
    cause = error;
  }
  if (key?.asymmetricKeyType === 'rsa' && !/PRIVATE KEY/.test(pem)) return key;
  const found = key
    ? /PRIVATE KEY/.test(pem)
      ? 'a private key'
      : `a key of type ${key.asymmetricKeyType}`
    : 'no public key';
  throw new RingwayError(
    'TOKEN_KEY',
    `${file} holds ${found}`,
    'give it an RSA public key: openssl rsa -in private.pem -pubout',
    { cause },
  );
}

/** @param nowSeconds Unix time. Never throws. */
export async function verifyToken(key: KeyObject, token: string, nowSeconds: number): Promise<TokenVerdict> {
  const parts = token.split('.');
  if (token.length > LONGEST_TOKEN || parts.length !== 3) return 'malformed';
  const header = readJson(parts[0]);
  if (!header) return 'malformed';
  if (header.alg !== 'RS256') return 'wrong algorithm';
  let payload: Uint8Array;
  try {
    ({ payload } = await compactVerify(token, key, { algorithms: ['RS256'] }));
  } catch {
    return 'wrong signature';
  }
  const claims = parse(Buffer.from(payload).toString('utf8'));
  if (!claims) return 'malformed';
  if (typeof claims.exp !== 'number' || !Number.isFinite(claims.exp)) return 'no expiry';
  if (claims.exp + LEEWAY_SECONDS < nowSeconds) return 'expired';
  return claims.aud === undefined ? 'accepted' : 'audience';
}

function readJson(base64url: string): Record<string, unknown> | undefined {
  return /^[\w-]+$/.test(base64url) ? parse(Buffer.from(base64url, 'base64url').toString('utf8')) : undefined;
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
