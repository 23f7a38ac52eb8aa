/** Certificates of a hostile server, and PEM texts of anybody: what cannot be read is refused by its typed error, and nothing else happens. */
import { generateKeyPairSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readFacts } from '../../src/crypto/certificate-facts.ts';
import { checkPair, derOf, privateKeyOf } from '../../src/crypto/pem.ts';
import { RingwayError } from '../../src/errors.ts';
import { issue } from './authority.ts';

const { der, privateKey } = issue({ name: 'vpn.example' });
const base64 = Buffer.from(der).toString('base64').replaceAll(/.{64}/g, '$&\n');
const CERTIFICATE = `-----BEGIN CERTIFICATE-----\n${base64}\n-----END CERTIFICATE-----\n`;
const KEY = privateKey.export({ format: 'pem', type: 'pkcs8' }) as string;
const KEYS = [
  KEY,
  generateKeyPairSync('ed25519').privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
  generateKeyPairSync('x25519').privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
];

/** Bytes changed, cut out, or put in twice. */
type Edit = (bytes: Buffer) => Buffer;
const edit: fc.Arbitrary<Edit> = fc.oneof(
  fc.tuple(fc.nat(), fc.nat(255)).map(
    ([at, value]) =>
      (bytes: Buffer) =>
        Buffer.from(bytes.with(at % bytes.length, value)),
  ),
  fc.tuple(fc.nat(), fc.nat(40)).map(([at, count]) => (bytes: Buffer) => {
    const from = at % bytes.length;
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(from + count)]);
  }),
  fc.tuple(fc.nat(), fc.nat(40)).map(([at, count]) => (bytes: Buffer) => {
    const from = at % bytes.length;
    return Buffer.concat([bytes.subarray(0, from + count), bytes.subarray(from)]);
  }),
);
const spoiled = (text: Uint8Array) =>
  fc.array(edit, { minLength: 1, maxLength: 6 }).map((edits) => {
    return edits.reduce<Buffer>((bytes, change) => (bytes.length === 0 ? bytes : change(bytes)), Buffer.from(text));
  });

/** DER of any tags, mostly those of certificates, with lengths that are right. */
const { tree } = fc.letrec<{ tree: Uint8Array }>((tie) => ({
  tree: fc
    .tuple(
      fc.constantFrom(0x30, 0x30, 0x30, 0xa3, 0x06, 0x04, 0x01, 0x02, 0x03, 0x31),
      fc.oneof(
        { maxDepth: 7 },
        fc.constantFrom('551d0f', '551d13', '551d25', '').map((hex) => Uint8Array.from(Buffer.from(hex, 'hex'))),
        fc.uint8Array({ maxLength: 6 }),
        fc.array(tie('tree'), { maxLength: 4 }).map((parts) => Uint8Array.from(Buffer.concat(parts))),
      ),
    )
    .map(([tag, body]) => {
      const length = body.length < 0x80 ? [body.length] : [0x82, body.length >> 8, body.length & 0xff];
      return Uint8Array.from([tag, ...length, ...body]);
    }),
}));
/** A certificate of such extensions. */
const extended = fc.array(tree, { maxLength: 4 }).map((extensions) => {
  const wrap = (tag: number, body: Buffer) =>
    Buffer.concat([Uint8Array.of(tag, 0x83, body.length >> 16, (body.length >> 8) & 0xff, body.length & 0xff), body]);
  return wrap(0x30, wrap(0x30, wrap(0xa3, wrap(0x30, Buffer.concat(extensions)))));
});

/** What is thrown, if anything. */
function thrown(act: () => unknown): unknown {
  try {
    act();
    return undefined;
  } catch (error) {
    return error;
  }
}

describe('the reader of certificate extensions', () => {
  it('tells facts or throws RangeError, whatever the bytes are', () => {
    const met = new Set<string>();
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 80 }), tree, extended, spoiled(der)), (bytes) => {
        const error = thrown(() => readFacts(bytes));
        expect(error === undefined || error instanceof RangeError, String(error)).toBe(true);
        expect((error as Error | undefined)?.message ?? 'certificate is not well-formed DER').toBe(
          'certificate is not well-formed DER', // not one of the engine's own: an array too long, a stack too deep
        );
        met.add(error === undefined ? 'told' : 'refused');
      }),
      { numRuns: 3_000 },
    );
    expect(met).toEqual(new Set(['told', 'refused']));
  });

  it('is done with a megabyte of elements, and with lengths that claim more than there is', () => {
    const many = new Uint8Array(1 << 20).fill(0x05).map((byte, i) => (i % 2 === 0 ? byte : 0));
    expect(thrown(() => readFacts(many))).toBeInstanceOf(RangeError);
    for (const head of [[0x30, 0x83, 0xff, 0xff, 0xff], [0x30, 0x84, 0xff, 0xff, 0xff, 0xff], [0x30, 0x80], [0x30], []])
      expect(thrown(() => readFacts(Uint8Array.from(head)))).toBeInstanceOf(RangeError);
  });
});

describe('a PEM text', () => {
  const texts = fc.oneof(
    fc.string(),
    spoiled(Buffer.from(CERTIFICATE)).map((bytes) => bytes.toString('latin1')),
    fc.constantFrom(...KEYS).chain((key) => spoiled(Buffer.from(key)).map((bytes) => bytes.toString('latin1'))),
    spoiled(der).map((bytes) => CERTIFICATE.replace(base64, bytes.toString('base64'))),
    fc
      .array(fc.constantFrom('-----BEGIN CERTIFICATE-----', '-----END CERTIFICATE-----', 'AAAA', '\n', '-'))
      .map((parts) => parts.join('')),
  );

  it('is read, or refused by code, and the refusal of a key repeats nothing of it', () => {
    const codes = new Set<string>();
    fc.assert(
      fc.property(texts, (text) => {
        for (const act of [
          () => derOf(text, 'it'),
          () => privateKeyOf(text, 'it'),
          () => checkPair(text, KEY),
          () => checkPair(CERTIFICATE, text),
        ]) {
          const error = thrown(act);
          if (error === undefined) continue;
          expect(error, String(error)).toBeInstanceOf(RingwayError);
          codes.add((error as RingwayError).code);
        }
        const lines = text.split('\n').filter((line) => line.length > 20 && !line.startsWith('-'));
        const message = String(thrown(() => privateKeyOf(text, 'it')));
        for (const line of lines) expect(message).not.toContain(line);
      }),
      { numRuns: 1_000 },
    );
    expect([...codes]).toEqual(expect.arrayContaining(['CERT_UNREADABLE', 'KEY_UNREADABLE']));
    for (const code of codes) expect(['CERT_UNREADABLE', 'KEY_UNREADABLE', 'KEY_KIND', 'KEY_MISMATCH']).toContain(code);
  });
});
