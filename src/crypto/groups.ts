/** Named groups: which curves and KEMs a code stands for, and the layout of its shares (protocol specification §2.4). */

export const Group = {
  secp256r1: 0x0017,
  secp384r1: 0x0018,
  secp521r1: 0x0019,
  x25519: 0x001d,
  secp256r1MlKem768: 0x11eb,
  x25519MlKem768: 0x11ec,
  secp384r1MlKem1024: 0x11ed,
  /** wolfSSL's private code: P-521 then ML-KEM-1024. What stock clients ask for by default. */
  secp521r1MlKem1024: 0x2f4d,
} as const;

export type Curve = 'x25519' | 'prime256v1' | 'secp384r1' | 'secp521r1';
export type Kem = 'ml-kem-768' | 'ml-kem-1024';

export interface GroupShape {
  readonly code: number;
  readonly name: string;
  readonly curve: Curve;
  readonly kem: Kem | undefined;
  /** X25519MLKEM768 alone puts the KEM first, in its shares and in its secret (draft-ietf-tls-ecdhe-mlkem §4). */
  readonly kemFirst: boolean;
  readonly clientShareLength: number;
  readonly serverShareLength: number;
}

/** Bytes of a public value: x25519 raw, the others an uncompressed point. */
export const CURVE_LENGTH: Record<Curve, number> = { x25519: 32, prime256v1: 65, secp384r1: 97, secp521r1: 133 };
/** FIPS 203: bytes of an encapsulation key, and of a ciphertext. */
export const KEM_LENGTH: Record<Kem, { key: number; ciphertext: number }> = {
  'ml-kem-768': { key: 1184, ciphertext: 1088 },
  'ml-kem-1024': { key: 1568, ciphertext: 1568 },
};

function shape(code: number, name: string, curve: Curve, kem?: Kem, kemFirst = false): [number, GroupShape] {
  const clientShareLength = CURVE_LENGTH[curve] + (kem === undefined ? 0 : KEM_LENGTH[kem].key);
  const serverShareLength = CURVE_LENGTH[curve] + (kem === undefined ? 0 : KEM_LENGTH[kem].ciphertext);
  return [code, { code, name, curve, kem, kemFirst, clientShareLength, serverShareLength }];
}

export const GROUPS: ReadonlyMap<number, GroupShape> = new Map([
  shape(Group.x25519MlKem768, 'X25519MLKEM768', 'x25519', 'ml-kem-768', true),
  shape(Group.x25519, 'x25519', 'x25519'),
  shape(Group.secp256r1, 'secp256r1', 'prime256v1'),
  shape(Group.secp384r1, 'secp384r1', 'secp384r1'),
  shape(Group.secp521r1MlKem1024, 'SecP521r1MLKEM1024', 'secp521r1', 'ml-kem-1024'),
  shape(Group.secp521r1, 'secp521r1', 'secp521r1'),
  shape(Group.secp256r1MlKem768, 'SecP256r1MLKEM768', 'prime256v1', 'ml-kem-768'),
  shape(Group.secp384r1MlKem1024, 'SecP384r1MLKEM1024', 'secp384r1', 'ml-kem-1024'),
]);

/**
 * What a server asks for, best first: post-quantum where it is cheap, then the cheap curves; P-521 costs milliseconds
 * an operation, so it comes last.
 */
export const DEFAULT_GROUPS: readonly number[] = [
  Group.x25519MlKem768,
  Group.x25519,
  Group.secp256r1,
  Group.secp384r1,
  Group.secp521r1MlKem1024,
  Group.secp521r1,
];
