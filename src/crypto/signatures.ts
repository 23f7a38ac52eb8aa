/** Signing and verifying CertificateVerify (RFC 8446 §4.4.3). */
import * as crypto from 'node:crypto';
import { CryptoAlert, Refusal } from './refusal.ts';
import { SCHEMES, type SchemeShape } from './schemes.ts';

/** @throws RangeError if there is no key or the scheme is not one of its */
export function sign(scheme: number, content: Uint8Array, privateKey: crypto.KeyObject | undefined): Uint8Array {
  const shape = SCHEMES.get(scheme);
  if (privateKey === undefined || shape === undefined || !fits(shape, privateKey)) {
    throw new RangeError(`Expected a private key for scheme 0x${scheme.toString(16)}`);
  }
  return new Uint8Array(crypto.sign(shape.hash, content, { key: privateKey, ...padding(shape) }));
}

/** @throws Refusal illegal_parameter if the key is of another kind, decrypt_error if the signature is wrong */
export function verify(scheme: number, content: Uint8Array, signature: Uint8Array, publicKey: crypto.KeyObject): void {
  const shape = SCHEMES.get(scheme);
  if (shape === undefined || !fits(shape, publicKey)) {
    throw new Refusal(
      CryptoAlert.illegalParameter,
      `signature scheme 0x${scheme.toString(16)} is not of the certified key`,
    );
  }
  let valid = false;
  try {
    valid = crypto.verify(shape.hash, content, { key: publicKey, ...padding(shape) }, signature);
  } catch (cause) {
    throw new Refusal(CryptoAlert.decryptError, 'signature cannot be read', { cause });
  }
  if (!valid) throw new Refusal(CryptoAlert.decryptError, 'signature of the handshake is wrong');
}

function fits(shape: SchemeShape, key: crypto.KeyObject): boolean {
  return key.asymmetricKeyType === shape.keyType && key.asymmetricKeyDetails?.namedCurve === shape.curve;
}

function padding(shape: SchemeShape): { padding?: number; saltLength?: number } {
  if (shape.keyType !== 'rsa' && shape.keyType !== 'rsa-pss') return {};
  return { padding: crypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: crypto.constants.RSA_PSS_SALTLEN_DIGEST };
}
