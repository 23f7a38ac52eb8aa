import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { checkPair, derOf, privateKeyOf } from '../../src/crypto/pem.ts';
import { issue } from './authority.ts';

const pemOf = (key: KeyObject) => key.export({ format: 'pem', type: 'pkcs8' }) as string;
const ec = (namedCurve: string) => generateKeyPairSync('ec', { namedCurve }).privateKey;

function pair(): { cert: string; key: string } {
  const { der, privateKey } = issue({ name: 'vpn.example' });
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  const cert = ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n');
  return { cert, key: pemOf(privateKey) };
}

describe('a private key', () => {
  it('is taken when TLS 1.3 can sign with it', () => {
    expect(privateKeyOf(pemOf(ec('P-384')), 'server_key').asymmetricKeyType).toBe('ec');
    expect(privateKeyOf(pemOf(generateKeyPairSync('ed25519').privateKey), 'k').asymmetricKeyType).toBe('ed25519');
  });

  it.each([
    ['text that is none', () => 'hello', 'KEY_UNREADABLE', 'server_key holds no private key'],
    ['a certificate', () => pair().cert, 'KEY_UNREADABLE', 'server_key holds no private key'],
    [
      'an encrypted key',
      () => ec('P-256').export({ format: 'pem', type: 'pkcs8', cipher: 'aes-128-cbc', passphrase: 'x' }) as string,
      'KEY_UNREADABLE',
      'server_key holds an encrypted private key',
    ],
    ['another curve', () => pemOf(ec('secp256k1')), 'KEY_KIND', /secp256k1/],
    ['X25519', () => pemOf(generateKeyPairSync('x25519').privateKey), 'KEY_KIND', /x25519/],
  ])('is refused: %s', (_case, text, code, message) => {
    const pem = text();
    expect(() => privateKeyOf(pem, 'server_key')).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
  });
});

describe('certificate and key', () => {
  it('are taken when they belong together, whatever follows in the chain', () => {
    const [one, other] = [pair(), pair()];
    expect(checkPair(`${one.cert}\n${other.cert}`, one.key)).toBeUndefined();
  });

  it('are refused when they do not: each by its name', () => {
    const [one, other] = [pair(), pair()];
    expect(() => checkPair(one.cert, other.key)).toThrow(expect.objectContaining({ code: 'KEY_MISMATCH' }));
    expect(() => checkPair(`${other.cert}\n${one.cert}`, one.key)).toThrow(
      expect.objectContaining({ code: 'KEY_MISMATCH' }),
    );
    expect(() => checkPair(one.key, one.key)).toThrow('server_cert holds no certificate');
  });
});

describe('a PEM text', () => {
  it('gives every certificate, in order', () => {
    const [one, other] = [pair(), pair()];
    expect(derOf(`a comment\n${one.cert}\n${other.cert}`, 'ca_cert')).toEqual([
      ...derOf(one.cert, 'ca_cert'),
      ...derOf(other.cert, 'ca_cert'),
    ]);
  });

  it('is refused without a certificate, and with a broken one', () => {
    const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
    expect(() => derOf('', 'ca_cert')).toThrow('ca_cert holds no certificate');
    expect(() => derOf(broken, 'ca_cert')).toThrow(/^ca_cert holds a certificate that cannot be read: /);
  });
});
