import { createECDH, createPrivateKey } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Group, type Kem } from '../../src/crypto/groups.ts';
import { runTask } from '../../src/crypto/tasks.ts';
import { bytesOf, concat } from '../packet/packets.ts';
import { type Answer, bytes, type Case, equal, report, tally } from './vectors.ts';

/** A private key as key-exchange.ts carries it from one task to the next: lengths and PKCS #8. */
function packed(...ders: Uint8Array[]): Uint8Array {
  return concat(...ders.flatMap((der) => [bytesOf('u16', der.length), der]));
}

function x25519Key(scalar: Uint8Array): Uint8Array {
  return concat(bytes('302e020100300506032b656e04220420'), scalar);
}

const CURVES = {
  secp256r1: { group: Group.secp256r1, node: 'prime256v1', jwk: 'P-256', size: 32 },
  secp384r1: { group: Group.secp384r1, node: 'secp384r1', jwk: 'P-384', size: 48 },
  secp521r1: { group: Group.secp521r1, node: 'secp521r1', jwk: 'P-521', size: 66 },
} as const;

/** The vectors give the private scalar alone, with leading zeros or without. */
function curveKey({ node, jwk, size }: (typeof CURVES)[keyof typeof CURVES], scalar: Uint8Array): Uint8Array {
  const d = concat(new Uint8Array(size), scalar).subarray(-size);
  const ecdh = createECDH(node);
  ecdh.setPrivateKey(d);
  const point = ecdh.getPublicKey();
  const text = (part: Uint8Array) => Buffer.from(part).toString('base64url');
  const key = {
    kty: 'EC',
    crv: jwk,
    d: text(d),
    x: text(point.subarray(1, 1 + size)),
    y: text(point.subarray(1 + size)),
  };
  return new Uint8Array(createPrivateKey({ key, format: 'jwk' }).export({ format: 'der', type: 'pkcs8' }));
}

/** The secret, or undefined where the task refuses the peer's share as illegal. */
function secretOf(group: number, privateKey: Uint8Array, peerShare: Uint8Array): Uint8Array | undefined {
  const result = runTask({ op: 'decapsulate', group, privateKey, peerShare }, {});
  if (result.op === 'refused') expect(result.alert).toBe(47); // illegal_parameter
  return result.op === 'decapsulate' ? result.secret : undefined;
}

const judge = (secret: Uint8Array | undefined, expected: unknown): Answer =>
  secret === undefined ? 'rejected' : equal(secret, bytes(expected)) ? 'accepted' : { refused: 'another secret' };

describe('key exchange', () => {
  it.each([
    ['secp256r1', 354],
    ['secp384r1', 789],
    ['secp521r1', 660],
  ] as const)('agrees over %s in every case, and takes uncompressed points only', async (name, run) => {
    const file = `ecdh_${name}_ecpoint_test.json`;
    const curve = CURVES[name];
    const found = await tally(file, (test) => {
      const secret = secretOf(curve.group, packed(curveKey(curve, bytes(test.private))), bytes(test.public));
      return judge(secret, test.shared);
    });
    report(file, 'runTask decapsulate', found);
    expect(found).toMatchObject({
      run,
      refused: {},
      wrong: [],
      acceptable: { 'CompressedPublic+CompressedPoint: rejected': 1 },
    });
  });

  it('agrees over X25519 in every case, and takes no secret of zeros', async () => {
    const file = 'x25519_test.json';
    const found = await tally(file, (test) => {
      const answer = judge(
        secretOf(Group.x25519, packed(x25519Key(bytes(test.private))), bytes(test.public)),
        test.shared,
      );
      const isZero = bytes(test.shared).every((byte) => byte === 0);
      if (isZero) expect(answer).toBe('rejected');
      return answer;
    });
    report(file, 'runTask decapsulate', found);
    expect(found).toMatchObject({ run: 264, refused: {}, wrong: [] });
    const ways = Object.entries(found.acceptable);
    expect(ways.reduce((sum, [, count]) => sum + count, 0)).toBe(254);
    expect(ways.filter(([name]) => /ZeroSharedSecret/.test(name) !== name.endsWith('rejected'))).toEqual([]);
  });
});

// ---- ML-KEM, inside the hybrid groups that the product has ------------------------------------------------------------------

interface Hybrid {
  readonly kem: Kem;
  readonly group: number;
  readonly oid: string;
  /** Curve parts that stay the same: our private key, its public value, and a peer's. */
  readonly curve: { readonly own: Uint8Array; readonly share: Uint8Array };
  readonly kemFirst: boolean;
  readonly curveSecret: number;
}

function hybrid(kem: Kem): Hybrid {
  const scalar = new Uint8Array(48).fill(9);
  if (kem === 'ml-kem-768') {
    const base = concat(Uint8Array.of(9), new Uint8Array(31));
    const curve = { own: x25519Key(scalar.subarray(0, 32)), share: base };
    return { kem, group: Group.x25519MlKem768, oid: '02', curve, kemFirst: true, curveSecret: 32 };
  }
  const ecdh = createECDH('secp384r1');
  ecdh.setPrivateKey(scalar);
  const curve = { own: curveKey(CURVES.secp384r1, scalar), share: new Uint8Array(ecdh.getPublicKey()) };
  return { kem, group: Group.secp384r1MlKem1024, oid: '03', curve, kemFirst: false, curveSecret: 48 };
}

const shareOf = ({ curve, kemFirst }: Hybrid, part: Uint8Array) =>
  kemFirst ? concat(part, curve.share) : concat(curve.share, part);
const kemPart = ({ kemFirst, curveSecret }: Hybrid, secret: Uint8Array) =>
  kemFirst ? secret.subarray(0, 32) : secret.subarray(curveSecret);
/** PKCS #8 of an ML-KEM key by its seed (RFC 9935 §6). */
const seedKey = ({ oid }: Hybrid, seed: Uint8Array) =>
  concat(bytes(`3054020100300b06096086480165030404${oid}04428040`), seed);

const NO_SEED = 'a seed of another length: the product makes its own';

describe.each([hybrid('ml-kem-768'), hybrid('ml-kem-1024')])('$kem in its hybrid group', (of) => {
  const prefix = of.kem.replace('ml-kem-', 'mlkem_');
  const decapsulate = (seed: Uint8Array, ciphertext: Uint8Array) =>
    secretOf(of.group, packed(of.curve.own, seedKey(of, seed)), shareOf(of, ciphertext));

  it('decapsulates every case, and refuses ciphertexts of another length', async () => {
    const file = `${prefix}_test.json`;
    const found = await tally(file, (test) => {
      const seed = bytes(test.seed);
      if (seed.length !== 64) return { refused: NO_SEED };
      const secret = decapsulate(seed, bytes(test.c));
      return secret === undefined
        ? 'rejected'
        : equal(kemPart(of, secret), bytes(test.K))
          ? 'accepted'
          : { refused: 'another secret' };
    });
    report(file, 'runTask decapsulate', found);
    expect(found.wrong).toEqual([]);
    expect([found.run, found.refused]).toEqual([of.kem === 'ml-kem-768' ? 181 : 182, { [NO_SEED]: 20 }]);
  });

  it('takes every valid encapsulation key and no other; the message it draws is its own', async () => {
    const file = `${prefix}_encaps_test.json`;
    const found = await tally(file, (test): Answer => {
      const result = runTask({ op: 'encapsulate', group: of.group, peerShare: shareOf(of, bytes(test.ek)) }, {});
      if (result.op === 'refused') expect(result.alert).toBe(47);
      return result.op === 'encapsulate' ? 'accepted' : 'rejected';
    });
    report(file, 'runTask encapsulate', found);
    expect(found).toMatchObject({ run: of.kem === 'ml-kem-768' ? 265 : 269, refused: {}, wrong: [] });
  });

  it('expands every seed to the key pair of the case: what is encapsulated for one half opens with the other', async () => {
    const file = `${prefix}_keygen_seed_test.json`;
    const found = await tally(file, (test: Case): Answer => {
      const result = runTask({ op: 'encapsulate', group: of.group, peerShare: shareOf(of, bytes(test.ek)) }, {});
      if (result.op !== 'encapsulate') return 'rejected';
      const secret = secretOf(
        of.group,
        packed(of.curve.own, seedKey(of, bytes(test.seed))),
        withOwnCurve(of, result.share),
      );
      return secret && equal(kemPart(of, secret), kemPart(of, result.secret)) ? 'accepted' : 'rejected';
    });
    report(file, 'runTask encapsulate, decapsulate', found);
    expect(found).toMatchObject({ run: 100, refused: {}, wrong: [] });
  });
});

/** The ciphertext of a server's share beside the curve part that never changes here. */
function withOwnCurve(of: Hybrid, share: Uint8Array): Uint8Array {
  const { length } = of.curve.share;
  return shareOf(of, of.kemFirst ? share.subarray(0, share.length - length) : share.subarray(length));
}
