/** Key exchange over the groups of `groups.ts`: curves and ML-KEM of node:crypto, alone or side by side. */
import * as crypto from 'node:crypto';
import { CURVE_LENGTH, type Curve, GROUPS, type GroupShape, KEM_LENGTH, type Kem } from './groups.ts';
import { CryptoAlert, Refusal } from './refusal.ts';

/** A private key in transit between two tasks: lengths and DER (PKCS #8) of the curve's part, then of the KEM's. */
const LENGTH_BYTES = 2;

interface KeyPair {
  publicKey: crypto.KeyObject;
  privateKey: crypto.KeyObject;
}

/** A fresh key pair and the client's share of it. The private key is this file's own format. */
export function generate(group: number): { privateKey: Uint8Array; share: Uint8Array } {
  const shape = shapeOf(group);
  const pairs = [generateCurve(shape.curve)];
  const publics = [publicBytes(pairs[0].publicKey)];
  if (shape.kem !== undefined) {
    pairs.push(crypto.generateKeyPairSync(shape.kem as 'x25519') as KeyPair);
    publics.push(publicBytes(pairs[1].publicKey));
  }
  return { privateKey: packPrivate(pairs), share: inOrder(shape, publics) };
}

/** The server's side: its share and the secret. @throws Refusal for a share of wrong length or off the curve */
export function encapsulate(group: number, peerShare: Uint8Array): { share: Uint8Array; secret: Uint8Array } {
  const shape = shapeOf(group);
  const kemLength = shape.kem === undefined ? 0 : KEM_LENGTH[shape.kem].key;
  const peer = split(shape, peerShare, kemLength);
  const own = generateCurve(shape.curve);
  const shares = [publicBytes(own.publicKey)];
  const secrets = [agree(own.privateKey, peer.curve, shape.curve)];
  if (shape.kem !== undefined) {
    const key = importPublic(peer.kem, shape.kem);
    const { sharedKey, ciphertext } = attempt('ML-KEM', () => crypto.encapsulate(key));
    shares.push(ciphertext);
    secrets.push(sharedKey);
  }
  return { share: inOrder(shape, shares), secret: inOrder(shape, secrets) };
}

/** The client's side: the secret. `privateKey` is what `generate` gave. @throws Refusal as `encapsulate` */
export function decapsulate(group: number, privateKey: Uint8Array, peerShare: Uint8Array): Uint8Array {
  const shape = shapeOf(group);
  const kemLength = shape.kem === undefined ? 0 : KEM_LENGTH[shape.kem].ciphertext;
  const peer = split(shape, peerShare, kemLength);
  const keys = unpackPrivate(privateKey);
  const secrets = [agree(keys[0], peer.curve, shape.curve)];
  if (shape.kem !== undefined) secrets.push(attempt('ML-KEM', () => crypto.decapsulate(keys[1], peer.kem)));
  return inOrder(shape, secrets);
}

function shapeOf(group: number): GroupShape {
  const shape = GROUPS.get(group);
  if (shape === undefined) throw new RangeError(`Expected a known group but received 0x${group.toString(16)}`);
  return shape;
}

function generateCurve(curve: Curve): KeyPair {
  if (curve === 'x25519') return crypto.generateKeyPairSync('x25519') as unknown as KeyPair;
  return crypto.generateKeyPairSync('ec', { namedCurve: curve }) as unknown as KeyPair;
}

/** Curve first unless the group says otherwise. */
function inOrder(shape: GroupShape, parts: readonly Uint8Array[]): Uint8Array {
  const joined = Buffer.concat(shape.kemFirst ? [...parts].reverse() : parts);
  return new Uint8Array(joined); // one's own memory: it may be zeroed and transferred
}

function split(shape: GroupShape, share: Uint8Array, kemLength: number): { curve: Uint8Array; kem: Uint8Array } {
  const curveLength = CURVE_LENGTH[shape.curve];
  if (share.length !== curveLength + kemLength) {
    throw new Refusal(CryptoAlert.illegalParameter, `${shape.name} share of ${share.length} bytes`);
  }
  if (!shape.kemFirst) return { curve: share.subarray(0, curveLength), kem: share.subarray(curveLength) };
  return { curve: share.subarray(kemLength), kem: share.subarray(0, kemLength) };
}

function agree(privateKey: crypto.KeyObject, peer: Uint8Array, curve: Curve): Uint8Array {
  const publicKey = importPublic(peer, curve);
  const secret = attempt(curve, () => crypto.diffieHellman({ privateKey, publicKey }));
  // RFC 8446 §7.4.2: an all-zero result means a point of small order. OpenSSL refuses too; this does not depend on it. The P-curves have
  // none, and there a point whose x is 0 is as good as any other.
  if (curve === 'x25519' && secret.every((byte) => byte === 0))
    throw new Refusal(CryptoAlert.illegalParameter, `${curve} result is all zero`);
  return secret;
}

/** Raw bytes of a public key, points uncompressed, as shares carry them. Through DER it would take as long as the key took to make. */
function publicBytes(key: crypto.KeyObject): Uint8Array {
  return key.export({ format: 'raw-public' });
}

function importPublic(raw: Uint8Array, kind: Curve | Kem): crypto.KeyObject {
  return attempt(kind, () => {
    const key = Buffer.from(raw.buffer, raw.byteOffset, raw.length);
    if (!isPoint(kind)) return crypto.createPublicKey({ key, format: 'raw-public', asymmetricKeyType: kind });
    if (raw[0] !== 4) throw new Error('not an uncompressed point'); // RFC 8446 §4.2.8.2
    return crypto.createPublicKey({ key, format: 'raw-public', asymmetricKeyType: 'ec', namedCurve: kind }); // refuses points off the curve
  });
}

function isPoint(kind: Curve | Kem): kind is Exclude<Curve, 'x25519'> {
  return kind === 'prime256v1' || kind === 'secp384r1' || kind === 'secp521r1';
}

/** Everything that fails on the peer's bytes is the peer's illegal_parameter. */
function attempt<T>(what: string, operation: () => T): T {
  try {
    return operation();
  } catch (cause) {
    if (cause instanceof Refusal) throw cause;
    throw new Refusal(CryptoAlert.illegalParameter, `${what} share is not valid`, { cause });
  }
}

function packPrivate(pairs: readonly KeyPair[]): Uint8Array {
  const ders = pairs.map((pair) => pair.privateKey.export({ format: 'der', type: 'pkcs8' }));
  const packed = new Uint8Array(ders.reduce((sum, der) => sum + LENGTH_BYTES + der.length, 0));
  let offset = 0;
  for (const der of ders) {
    packed[offset] = der.length >> 8;
    packed[offset + 1] = der.length & 0xff;
    packed.set(der, offset + LENGTH_BYTES);
    offset += LENGTH_BYTES + der.length;
    der.fill(0);
  }
  return packed;
}

function unpackPrivate(packed: Uint8Array): crypto.KeyObject[] {
  const keys: crypto.KeyObject[] = [];
  for (let offset = 0; offset < packed.length; ) {
    const length = packed[offset] * 256 + packed[offset + 1];
    const key = Buffer.from(packed.subarray(offset + LENGTH_BYTES, offset + LENGTH_BYTES + length));
    keys.push(crypto.createPrivateKey({ key, format: 'der', type: 'pkcs8' }));
    key.fill(0);
    offset += LENGTH_BYTES + length;
  }
  return keys;
}
