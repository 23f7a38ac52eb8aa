/** Keys and certificates as people keep them: PEM texts, refused with a sentence that says what to do. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { RingwayError } from '../errors.ts';
import { schemesOf } from './schemes.ts';

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/**
 * The certificates of a PEM text as DER, in order; never empty.
 * @param what for messages: "server_cert"
 * @throws RingwayError CERT_UNREADABLE
 */
export function derOf(pem: string, what: string): Uint8Array<ArrayBuffer>[] {
  try {
    const found = (pem.match(CERTIFICATE) ?? []).map((each) => new Uint8Array(new X509Certificate(each).raw));
    if (found.length > 0) return found;
  } catch (cause) {
    throw new RingwayError(
      'CERT_UNREADABLE',
      `${what} holds a certificate that cannot be read: ${(cause as Error).message}`,
      'give a PEM file',
      { cause },
    );
  }
  throw new RingwayError(
    'CERT_UNREADABLE',
    `${what} holds no certificate`,
    'give a PEM file with -----BEGIN CERTIFICATE-----',
  );
}

/**
 * A private key that can sign in TLS 1.3.
 * @param what for messages: "server_key"
 * @throws RingwayError KEY_UNREADABLE, KEY_KIND; neither repeats anything of the text
 */
export function privateKeyOf(pem: string, what: string): KeyObject {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (cause) {
    const encrypted = /ENCRYPTED/.test(pem); // by either form of PEM: OpenSSL does not say so in one voice
    throw new RingwayError(
      'KEY_UNREADABLE',
      `${what} holds ${encrypted ? 'an encrypted private key' : 'no private key'}`,
      encrypted ? 'decrypt it: openssl pkey -in OLD -out NEW' : 'give a PEM file with -----BEGIN PRIVATE KEY-----',
      { cause },
    );
  }
  if (schemesOf(key).length > 0) return key;
  throw new RingwayError(
    'KEY_KIND',
    `${what} holds a key of type ${key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType}, which cannot sign in TLS 1.3`,
    'make one of ECDSA (P-256, P-384, P-521), Ed25519 or RSA',
  );
}

/** @throws RingwayError CERT_UNREADABLE, KEY_UNREADABLE, KEY_KIND, KEY_MISMATCH */
export function checkPair(certPem: string, keyPem: string): void {
  const [leaf] = derOf(certPem, 'server_cert');
  if (new X509Certificate(leaf).checkPrivateKey(privateKeyOf(keyPem, 'server_key'))) return;
  throw new RingwayError(
    'KEY_MISMATCH',
    'server_key is not the key of the first certificate in server_cert',
    'give the key that the certificate was made for, and a chain that begins with the certificate of the server',
  );
}
