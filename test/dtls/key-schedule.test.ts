import { createHash, createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { hashLength, hashOf, type Secret, Suite } from '../../src/crypto/vault.ts';
import { KeySchedule } from '../../src/dtls/key-schedule.ts';
import { vault } from './pair.ts';

/** RFC 8446 §7.1 once more, by node:crypto and in the order of its figure. */
function scheduleByNode(
  hash: string,
  length: number,
  shared: Buffer,
  hello: Buffer,
  finished: Buffer,
): Record<string, Buffer> {
  const extract = (salt: Buffer, ikm: Buffer): Buffer => createHmac(hash, salt).update(ikm).digest();
  const expand = (secret: Buffer, label: string, context: Buffer): Buffer => {
    const name = Buffer.from(`dtls13${label}`);
    const info = Buffer.concat([Buffer.of(0, length, name.length), name, Buffer.of(context.length), context]);
    return createHmac(hash, secret)
      .update(Buffer.concat([info, Buffer.of(1)]))
      .digest();
  };
  const empty = createHash(hash).digest();
  const zeros = Buffer.alloc(length);
  const handshake = extract(expand(extract(zeros, zeros), 'derived', empty), shared);
  const master = extract(expand(handshake, 'derived', empty), zeros);
  return {
    'c hs': expand(handshake, 'c hs traffic', hello),
    's hs': expand(handshake, 's hs traffic', hello),
    'c ap': expand(master, 'c ap traffic', finished),
    's ap': expand(master, 's ap traffic', finished),
  };
}

describe('the key schedule', () => {
  for (const suite of Object.values(Suite)) {
    it(`gives the secrets of RFC 8446 §7.1 for suite ${suite.toString(16)}`, () => {
      const hash = hashOf(suite);
      const length = hashLength(hash);
      const [hello, finished] = ['hello', 'finished'].map((text) => createHash(hash).update(text).digest());
      const shared = Buffer.alloc(48, 7);
      const expected = scheduleByNode(hash, length, Buffer.from(shared), hello, finished);
      const schedule = new KeySchedule(vault, suite, shared);
      expect(shared.every((byte) => byte === 0)).toBe(true);
      const actual: Record<string, Secret> = {
        'c hs': schedule.handshakeTraffic('client', hello),
        's hs': schedule.handshakeTraffic('server', hello),
        'c ap': schedule.applicationTraffic('client', finished),
        's ap': schedule.applicationTraffic('server', finished),
      };
      for (const [name, secret] of Object.entries(actual)) {
        const imported = vault.importSecret(hash, expected[name]);
        expect(vault.finished(secret, hello), name).toEqual(vault.finished(imported, hello));
      }
    });
  }
});
