/** Signature schemes of TLS 1.3 (RFC 8446 §4.2.3): which key, hash and padding a code stands for. */
import type { KeyObject } from 'node:crypto';

export const Scheme = {
  ecdsaSecp256r1Sha256: 0x0403,
  ecdsaSecp384r1Sha384: 0x0503,
  ecdsaSecp521r1Sha512: 0x0603,
  rsaPssRsaeSha256: 0x0804,
  rsaPssRsaeSha384: 0x0805,
  rsaPssRsaeSha512: 0x0806,
  ed25519: 0x0807,
  rsaPssPssSha256: 0x0809,
  rsaPssPssSha384: 0x080a,
  rsaPssPssSha512: 0x080b,
} as const;

export interface SchemeShape {
  readonly code: number;
  /** `asymmetricKeyType` of node:crypto. */
  readonly keyType: 'ec' | 'rsa' | 'rsa-pss' | 'ed25519';
  readonly curve: string | undefined;
  /** Null for Ed25519, which hashes for itself. */
  readonly hash: 'sha256' | 'sha384' | 'sha512' | null;
}

const shapes: readonly SchemeShape[] = [
  { code: Scheme.ecdsaSecp256r1Sha256, keyType: 'ec', curve: 'prime256v1', hash: 'sha256' },
  { code: Scheme.ecdsaSecp384r1Sha384, keyType: 'ec', curve: 'secp384r1', hash: 'sha384' },
  { code: Scheme.ecdsaSecp521r1Sha512, keyType: 'ec', curve: 'secp521r1', hash: 'sha512' },
  { code: Scheme.ed25519, keyType: 'ed25519', curve: undefined, hash: null },
  { code: Scheme.rsaPssRsaeSha256, keyType: 'rsa', curve: undefined, hash: 'sha256' },
  { code: Scheme.rsaPssRsaeSha384, keyType: 'rsa', curve: undefined, hash: 'sha384' },
  { code: Scheme.rsaPssRsaeSha512, keyType: 'rsa', curve: undefined, hash: 'sha512' },
  { code: Scheme.rsaPssPssSha256, keyType: 'rsa-pss', curve: undefined, hash: 'sha256' },
  { code: Scheme.rsaPssPssSha384, keyType: 'rsa-pss', curve: undefined, hash: 'sha384' },
  { code: Scheme.rsaPssPssSha512, keyType: 'rsa-pss', curve: undefined, hash: 'sha512' },
];

/** By code, in the order a client offers them. */
export const SCHEMES: ReadonlyMap<number, SchemeShape> = new Map(shapes.map((shape) => [shape.code, shape]));

/** Schemes a key can sign with, best first; empty if TLS 1.3 has no use for it. */
export function schemesOf(key: KeyObject): number[] {
  const curve = key.asymmetricKeyDetails?.namedCurve;
  const bound = key.asymmetricKeyDetails?.hashAlgorithm; // an RSA-PSS key may be tied to one hash
  return shapes
    .filter((shape) => shape.keyType === key.asymmetricKeyType && shape.curve === curve)
    .filter((shape) => bound === undefined || shape.hash === bound)
    .map((shape) => shape.code);
}
