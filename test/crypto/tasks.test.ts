import { createECDH, createPrivateKey } from 'node:crypto';
import { x25519 } from '@noble/curves/ed25519.js';
import { p256 } from '@noble/curves/nist.js';
import { ml_kem768, ml_kem1024 } from '@noble/post-quantum/ml-kem.js';
import { beforeAll, describe, expect, it } from 'vitest';
import { otherName } from '../../src/crypto/certificates.ts';
import { CURVE_LENGTH, GROUPS, Group } from '../../src/crypto/groups.ts';
import { SCHEMES, schemesOf } from '../../src/crypto/schemes.ts';
import { type ClientCredentials, runTask, type TaskResult } from '../../src/crypto/tasks.ts';
import { type Issued, issue, keyPair, LEAF_KINDS, TODAY } from './authority.ts';

type Result<Op extends TaskResult['op']> = TaskResult & { op: Op };
const YEAR = 366 * 86_400_000;
const content = Buffer.from('the transcript, signed');

function keygen(group: number): Result<'keygen'> {
  return runTask({ op: 'keygen', group }, {}) as Result<'keygen'>;
}

function encapsulate(group: number, peerShare: Uint8Array): TaskResult {
  return runTask({ op: 'encapsulate', group, peerShare }, {});
}

describe('key exchange', () => {
  for (const shape of GROUPS.values()) {
    it(`agrees over ${shape.name}, with shares of the length its table says`, () => {
      const client = keygen(shape.code);
      expect(client.share.length).toBe(shape.clientShareLength);
      const server = encapsulate(shape.code, client.share) as Result<'encapsulate'>;
      expect(server.share.length).toBe(shape.serverShareLength);
      const task = {
        op: 'decapsulate',
        group: shape.code,
        privateKey: client.privateKey,
        peerShare: server.share,
      } as const;
      expect(runTask(task, {})).toEqual({ op: 'decapsulate', secret: server.secret });
      expect(client.privateKey.every((byte) => byte === 0)).toBe(true);
    });

    it(`refuses shares of ${shape.name} that are cut, too long or not valid`, () => {
      const { share } = keygen(shape.code);
      const refused = { op: 'refused', alert: 47 };
      expect(encapsulate(shape.code, share.subarray(1))).toMatchObject(refused);
      expect(encapsulate(shape.code, Buffer.concat([share, Buffer.of(0)]))).toMatchObject(refused);
      const curveAt = shape.kemFirst ? share.length - CURVE_LENGTH[shape.curve] : 0;
      const invalid = share.slice();
      invalid.fill(0, curveAt, curveAt + CURVE_LENGTH[shape.curve]); // of small order, or no point at all
      expect(encapsulate(shape.code, invalid)).toMatchObject(refused);
      if (shape.curve === 'x25519') return;
      const offCurve = share.slice();
      offCurve[curveAt + CURVE_LENGTH[shape.curve] - 1] ^= 1;
      expect(encapsulate(shape.code, offCurve)).toMatchObject(refused);
    });
  }

  it('puts ML-KEM before X25519, as @noble computes it', () => {
    const kem = ml_kem768.keygen();
    const secretKey = x25519.utils.randomSecretKey();
    const share = Buffer.concat([kem.publicKey, x25519.getPublicKey(secretKey)]);
    const server = encapsulate(Group.x25519MlKem768, share) as Result<'encapsulate'>;
    const first = ml_kem768.decapsulate(server.share.subarray(0, 1088), kem.secretKey);
    const second = x25519.getSharedSecret(secretKey, server.share.subarray(1088));
    expect(Buffer.from(server.secret)).toEqual(Buffer.concat([first, second]));
  });

  it('puts a NIST curve before ML-KEM, as @noble computes it', () => {
    const kem = ml_kem768.keygen();
    const secretKey = p256.utils.randomSecretKey();
    const share = Buffer.concat([p256.getPublicKey(secretKey, false), kem.publicKey]);
    const server = encapsulate(Group.secp256r1MlKem768, share) as Result<'encapsulate'>;
    const first = p256.getSharedSecret(secretKey, server.share.subarray(0, 65), false).subarray(1, 33);
    const second = ml_kem768.decapsulate(server.share.subarray(65), kem.secretKey);
    expect(Buffer.from(server.secret)).toEqual(Buffer.concat([first, second]));
  });

  it('gives a client the ML-KEM-1024 secret @noble put into the stock group', () => {
    const client = keygen(Group.secp521r1MlKem1024);
    const peer = keygen(Group.secp521r1);
    const { cipherText, sharedSecret } = ml_kem1024.encapsulate(client.share.subarray(133));
    const peerShare = Buffer.concat([peer.share, cipherText]);
    const task = {
      op: 'decapsulate',
      group: Group.secp521r1MlKem1024,
      privateKey: client.privateKey,
      peerShare,
    } as const;
    const { secret } = runTask(task, {}) as Result<'decapsulate'>;
    expect(Buffer.from(secret.subarray(66))).toEqual(Buffer.from(sharedSecret));
  });

  it('takes a secret of zeros on a P-curve, where a point with x = 0 is as good as any other', () => {
    const y = '66485c780e2f83d72433bd5d84a06bb6541c2af31dae871728bf856a174f93f4'; // the root of P-256's b
    const generator = createECDH('prime256v1');
    generator.setPrivateKey(Buffer.from('01'.padStart(64, '0'), 'hex'));
    const point = generator.getPublicKey();
    const key = { kty: 'EC', crv: 'P-256', d: generator.getPrivateKey('base64url') };
    const [px, py] = [point.subarray(1, 33), point.subarray(33)].map((each) => each.toString('base64url'));
    const one = createPrivateKey({ key: { ...key, x: px, y: py }, format: 'jwk' });
    const der = one.export({ format: 'der', type: 'pkcs8' });
    const privateKey = new Uint8Array(Buffer.concat([Buffer.of(der.length >> 8, der.length & 0xff), der]));
    const peerShare = new Uint8Array(Buffer.from(`04${'00'.repeat(32)}${y}`, 'hex'));
    const result = runTask({ op: 'decapsulate', group: Group.secp256r1, privateKey, peerShare }, {});
    expect(result).toEqual({ op: 'decapsulate', secret: new Uint8Array(32) });
  });

  it('throws on a group that is none: that is our own mistake', () => {
    expect(() => keygen(0x0015)).toThrow(RangeError);
  });
});

describe('signatures', () => {
  const key = new Map(LEAF_KINDS.map((kind) => [kind, keyPair(kind)]));

  it('are made with the schemes a key is fit for, and with no other', () => {
    const expected = {
      p256: [0x403],
      p384: [0x503],
      p521: [0x603],
      ed25519: [0x807],
      rsa: [0x804, 0x805, 0x806],
      'rsa-pss': [0x809, 0x80a, 0x80b],
    };
    for (const [kind, { privateKey }] of key) {
      expect(schemesOf(privateKey)).toEqual(expected[kind as keyof typeof expected]);
      for (const scheme of SCHEMES.keys()) {
        const sign = (): TaskResult => runTask({ op: 'sign', scheme, content }, { privateKey });
        if (schemesOf(privateKey).includes(scheme)) expect(sign().op).toBe('sign');
        else expect(sign).toThrow(RangeError);
      }
    }
  });
});

describe('verifying a peer', () => {
  let root: Issued;
  let intermediate: Issued;

  beforeAll(() => {
    root = issue({ name: 'root', ca: true, usage: 0x04 });
    intermediate = issue({ name: 'intermediate', ca: true, issuer: root, usage: 0x04 });
  });

  function verify(
    chain: readonly Issued[],
    changes: Partial<ClientCredentials> & { wrong?: boolean } = {},
  ): TaskResult {
    const [scheme] = schemesOf(chain[0].privateKey);
    const { signature } = runTask(
      { op: 'sign', scheme, content },
      { privateKey: chain[0].privateKey },
    ) as Result<'sign'>;
    if (changes.wrong === true) signature[signature.length - 1] ^= 1;
    const task = { op: 'verifyPeer', chain: chain.map((each) => each.der), scheme, content, signature } as const;
    return runTask(task, { trustAnchors: [root.der], now: () => TODAY, ...changes });
  }

  const accepted = { op: 'verifyPeer' };
  const alert = (code: number) => ({ op: 'refused', alert: code });

  it('accepts every kind of key below the root', () => {
    for (const key of LEAF_KINDS) expect(verify([issue({ name: 'leaf', key, issuer: root })])).toEqual(accepted);
  });

  it('finds the path through intermediates in any order, past what does not belong', () => {
    const lower = issue({ name: 'lower', ca: true, issuer: intermediate });
    const leaf = issue({ name: 'leaf', issuer: lower });
    const unrelated = issue({ name: 'unrelated', ca: true });
    expect(verify([leaf, unrelated, intermediate, lower])).toEqual(accepted);
    expect(verify([leaf, intermediate, lower, root])).toEqual(accepted);
    expect(verify([leaf, lower])).toMatchObject(alert(48));
  });

  it('accepts a certificate that is itself an anchor', () => {
    const own = issue({ name: 'self' });
    expect(verify([own], { trustAnchors: [own.der] })).toEqual(accepted);
  });

  it('refuses a stranger, and one that only bears the name of the root, as unknown_ca', () => {
    const impostor = issue({ name: 'root', ca: true });
    expect(verify([issue({ name: 'leaf', issuer: impostor })])).toMatchObject(alert(48));
    expect(verify([issue({ name: 'leaf', issuer: impostor }), impostor])).toMatchObject(alert(48));
    expect(verify([issue({ name: 'leaf', issuer: root })], { trustAnchors: [] })).toMatchObject(alert(48));
  });

  it('refuses issuers that are no authorities: no CA flag, no keyCertSign, path too long', () => {
    const leafAsIssuer = issue({ name: 'no-ca', issuer: root });
    expect(verify([issue({ name: 'leaf', issuer: leafAsIssuer }), leafAsIssuer])).toMatchObject(alert(48));
    const noSign = issue({ name: 'no-sign', ca: true, usage: 0x80, issuer: root });
    expect(verify([issue({ name: 'leaf', issuer: noSign }), noSign])).toMatchObject(alert(48));
    const short = issue({ name: 'short', ca: true, pathLength: 0, issuer: root });
    const below = issue({ name: 'below', ca: true, issuer: short });
    expect(verify([issue({ name: 'leaf', issuer: short }), short])).toEqual(accepted);
    expect(verify([issue({ name: 'leaf', issuer: below }), below, short])).toMatchObject(alert(48));
  });

  it('refuses what is expired or not yet valid, wherever on the path, as certificate_expired', () => {
    const leaf = issue({ name: 'leaf', issuer: intermediate });
    expect(verify([leaf, intermediate], { now: () => TODAY + YEAR })).toMatchObject(alert(45));
    expect(verify([leaf, intermediate], { now: () => TODAY - YEAR })).toMatchObject(alert(45));
    const old = issue({ name: 'old', ca: true, issuer: root, to: TODAY - 1_000 });
    expect(verify([issue({ name: 'leaf', issuer: old }), old])).toMatchObject(alert(45));
  });

  it('remembers a chain it has accepted, but neither past its time nor for another chain, name or signature', () => {
    const expiry = { from: TODAY - 1_000_000, to: TODAY + 1_000_000 };
    const leaf = issue({ name: 'leaf', issuer: root, dnsNames: ['vpn.example'], ...expiry });
    const [scheme] = schemesOf(leaf.privateKey);
    const { signature } = runTask({ op: 'sign', scheme, content }, leaf) as Result<'sign'>;
    let now = TODAY;
    const trusting = { trustAnchors: [root.der], serverName: 'vpn.example', now: () => now };
    const task = { op: 'verifyPeer', chain: [leaf.der], scheme, content, signature } as const;
    for (let time = 0; time < 2; time++) expect(runTask(task, trusting)).toEqual(accepted);
    expect(runTask({ ...task, content: content.subarray(1) }, trusting)).toMatchObject(alert(51));
    const cut = { ...task, chain: [leaf.der.slice(0, -1)] };
    expect(runTask(cut, trusting)).toMatchObject(alert(42));
    const other = { ...task, chain: [issue({ name: 'leaf', issuer: root, dnsNames: ['other.example'] }).der] };
    expect(runTask(other, trusting).op).toBe('refused');
    expect(runTask(task, { ...trusting, serverName: 'other.example' })).toMatchObject(alert(42));
    now = TODAY + 1_000_001;
    expect(runTask(task, trusting)).toMatchObject(alert(45));
  });

  it('compares the name only if one is asked for: alternative names, else the common name', () => {
    const named = issue({ name: 'common.test', issuer: root, dnsNames: ['server.test', '*.wild.test'] });
    for (const serverName of [undefined, '', 'server.test', 'a.wild.test'])
      expect(verify([named], { serverName })).toEqual(accepted);
    for (const serverName of ['common.test', 'other.test', 'a.b.wild.test', 'wild.test']) {
      expect(verify([named], { serverName })).toMatchObject(alert(42));
    }
    const common = issue({ name: 'common.test', issuer: root });
    expect(verify([common], { serverName: 'common.test' })).toEqual(accepted);
    expect(verify([common], { serverName: 'server.test' })).toMatchObject(alert(42));
  });

  it('says which name was asked for and which the certificate has, in printable characters and not without end', () => {
    const reason = (leaf: ReturnType<typeof issue>) => verify([leaf], { serverName: 'asked.test' });
    const both = issue({ name: 'common.test', issuer: root, dnsNames: ['server.test', 'other.test'] });
    expect(reason(both)).toMatchObject({ reason: 'asked for asked.test, it is for DNS:server.test, DNS:other.test' });
    const common = issue({ name: 'common.test', issuer: root });
    expect(reason(common)).toMatchObject({ reason: 'asked for asked.test, it is for CN=common.test' });
    expect(otherName('a', 'CN=\u001b[2J\nb')).toBe('asked for a, it is for CN= [2J b');
    expect(otherName('a', 'b'.repeat(10_000)).length).toBeLessThan(250);
  });

  it('refuses weak keys, other purposes and unknown critical extensions', () => {
    expect(verify([issue({ name: 'leaf', key: 'rsa-1024', issuer: root })])).toMatchObject(alert(42));
    expect(verify([issue({ name: 'leaf', issuer: root, usage: 0x04 })])).toMatchObject(alert(43));
    expect(verify([issue({ name: 'leaf', issuer: root, extended: '1.3.6.1.5.5.7.3.2' })])).toMatchObject(alert(43));
    expect(verify([issue({ name: 'leaf', issuer: root, extended: '1.3.6.1.5.5.7.3.1' })])).toEqual(accepted);
    expect(verify([issue({ name: 'leaf', issuer: root, critical: '1.3.6.1.4.1.99999.1' })])).toMatchObject(alert(43));
  });

  it('refuses a wrong signature as decrypt_error, and a scheme of another key as illegal_parameter', () => {
    const leaf = issue({ name: 'leaf', issuer: root });
    expect(verify([leaf], { wrong: true })).toMatchObject(alert(51));
    const task = {
      op: 'verifyPeer',
      chain: [leaf.der],
      scheme: 0x0804,
      content,
      signature: new Uint8Array(256),
    } as const;
    expect(runTask(task, { trustAnchors: [root.der], now: () => TODAY })).toMatchObject(alert(47));
  });

  it('answers certificates cut at any byte, or with any byte changed, with a refusal', () => {
    const leaf = issue({ name: 'leaf', issuer: root });
    const [scheme] = schemesOf(leaf.privateKey);
    const { signature } = runTask({ op: 'sign', scheme, content }, leaf) as Result<'sign'>;
    const attempt = (der: Uint8Array): TaskResult =>
      runTask(
        { op: 'verifyPeer', chain: [der], scheme, content, signature },
        { trustAnchors: [root.der], now: () => TODAY },
      );
    expect(attempt(leaf.der)).toEqual(accepted);
    for (let i = 0; i < leaf.der.length; i++) {
      expect(attempt(leaf.der.slice(0, i)).op, `cut at ${i}`).toBe('refused');
      const changed = leaf.der.slice();
      changed[i] ^= 0x11;
      expect(attempt(changed).op, `changed at ${i}`).toBe('refused');
    }
  });
});
