/** Certificates for tests, made on the spot in DER: a root, and whatever it or another issuer signs (RFC 5280 §4). */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';

export type KeyKind = 'p256' | 'p384' | 'p521' | 'ed25519' | 'rsa' | 'rsa-pss' | 'rsa-1024';
export const LEAF_KINDS: readonly KeyKind[] = ['p256', 'p384', 'p521', 'ed25519', 'rsa', 'rsa-pss'];

/** The day tests live on; certificates are valid for a year around it unless they say otherwise. */
export const TODAY = Date.UTC(2026, 10, 1);
const HALF_YEAR = 182 * 86_400_000;

export interface Issued {
  readonly name: string;
  readonly der: Uint8Array;
  readonly privateKey: KeyObject;
}

export interface Request {
  name: string;
  key?: KeyKind;
  /** Signs with Ed25519 (always equally long), or with ECDSA and SHA-256; default: the subject itself. */
  issuer?: Issued;
  from?: number;
  to?: number;
  ca?: boolean;
  pathLength?: number;
  /** First byte of the key usage bits: 0x80 digitalSignature, 0x04 keyCertSign. */
  usage?: number;
  /** Extended key usage, as dotted object identifier. */
  extended?: string;
  dnsNames?: string[];
  /** A critical extension nobody knows. */
  critical?: string;
}

let serial = 1;

export function issue(request: Request): Issued {
  const { name, issuer, from = TODAY - HALF_YEAR, to = TODAY + HALF_YEAR } = request;
  const pair = keyPair(request.key ?? 'p256');
  const signer = issuer?.privateKey ?? pair.privateKey;
  const isEdwards = signer.asymmetricKeyType === 'ed25519';
  const algorithm = sequence(oid(isEdwards ? '1.3.101.112' : '1.2.840.10045.4.3.2'));
  const body = sequence(
    der(0xa0, integer(2)),
    integer(serial++),
    algorithm,
    commonName(issuer?.name ?? name),
    sequence(time(from), time(to)),
    commonName(name),
    pair.publicKey.export({ format: 'der', type: 'spki' }),
    der(0xa3, sequence(...extensionsOf(request))),
  );
  const signature = sign(isEdwards ? null : 'sha256', body, signer);
  return { name, der: new Uint8Array(sequence(body, algorithm, bits(signature))), privateKey: pair.privateKey };
}

export function keyPair(kind: KeyKind): { publicKey: KeyObject; privateKey: KeyObject } {
  const curves = { p256: 'prime256v1', p384: 'secp384r1', p521: 'secp521r1' } as const;
  if (kind === 'ed25519') return generateKeyPairSync('ed25519');
  if (kind === 'rsa') return generateKeyPairSync('rsa', { modulusLength: 2048 });
  if (kind === 'rsa-1024') return generateKeyPairSync('rsa', { modulusLength: 1024 });
  if (kind === 'rsa-pss') return generateKeyPairSync('rsa-pss', { modulusLength: 2048 });
  return generateKeyPairSync('ec', { namedCurve: curves[kind] });
}

function extensionsOf({ ca = false, pathLength, usage, extended, dnsNames = [], critical }: Request): Buffer[] {
  const extensions: Buffer[] = [];
  const limit = pathLength === undefined ? [] : [integer(pathLength)];
  extensions.push(extension('2.5.29.19', true, ca ? sequence(der(0x01, Buffer.of(0xff)), ...limit) : sequence()));
  if (usage !== undefined) extensions.push(extension('2.5.29.15', true, bits(Buffer.of(usage))));
  if (extended !== undefined) extensions.push(extension('2.5.29.37', false, sequence(oid(extended))));
  const names = dnsNames.map((each) => der(0x82, Buffer.from(each)));
  if (names.length > 0) extensions.push(extension('2.5.29.17', false, sequence(...names)));
  if (critical !== undefined) extensions.push(extension(critical, true, der(0x05)));
  return extensions;
}

function der(tag: number, ...parts: Uint8Array[]): Buffer {
  const content = Buffer.concat(parts);
  if (content.length < 0x80) return Buffer.concat([Buffer.of(tag, content.length), content]);
  return Buffer.concat([Buffer.of(tag, 0x82, content.length >> 8, content.length & 0xff), content]);
}

function sequence(...parts: Uint8Array[]): Buffer {
  return der(0x30, ...parts);
}

function integer(value: number): Buffer {
  return der(0x02, value > 0x7f ? Buffer.of(value >> 8, value & 0xff) : Buffer.of(value));
}

function bits(content: Uint8Array): Buffer {
  return der(0x03, Buffer.of(0), content);
}

function oid(dotted: string): Buffer {
  const [first, second, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const groups = [arc & 0x7f];
    for (let left = arc >> 7; left > 0; left >>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return der(0x06, Buffer.from(bytes));
}

function commonName(name: string): Buffer {
  return sequence(der(0x31, sequence(oid('2.5.4.3'), der(0x0c, Buffer.from(name)))));
}

/** GeneralizedTime. */
function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replace(/[-:T]/g, '').slice(0, 14);
  return der(0x18, Buffer.from(`${digits}Z`));
}

function extension(identifier: string, critical: boolean, value: Uint8Array): Buffer {
  const flag = critical ? [der(0x01, Buffer.of(0xff))] : [];
  return sequence(oid(identifier), ...flag, der(0x04, value));
}
