/** What the crypto pool is given at its start. PEM as the keeper read it: keys never travel with a task. */
import { X509Certificate } from 'node:crypto';
import { Piscina } from 'piscina';
import { RingwayError } from '../errors.ts';

export type CryptoMaterial =
  | { role: 'server'; cert: string; key: string; userDb: string | null; tokenKey: string | null }
  | { role: 'client'; caCert: string; serverName: string };

/** Two threads: one slow operation (P-521: 9 ms, bcrypt: more) must not hold up every other handshake. */
const THREADS = 2;

export function createCryptoPool(material: CryptoMaterial, threads = THREADS): Piscina {
  return new Piscina({
    filename: new URL('../../workers/crypto.ts', import.meta.url).href,
    workerData: material,
    minThreads: 1,
    maxThreads: threads,
    idleTimeout: 30_000,
    atomics: 'disabled',
  });
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/** The certificates of a PEM text as DER, in order. @throws RingwayError CERT_UNREADABLE */
export function derOf(pem: string): Uint8Array[] {
  try {
    const found = (pem.match(CERTIFICATE) ?? []).map((each) => new Uint8Array(new X509Certificate(each).raw));
    if (found.length > 0) return found;
  } catch (cause) {
    throw new RingwayError(
      'CERT_UNREADABLE',
      `the certificate cannot be read: ${(cause as Error).message}`,
      'give a PEM file',
      {
        cause,
      },
    );
  }
  throw new RingwayError(
    'CERT_UNREADABLE',
    'there is no certificate in the PEM text',
    'give a PEM file with BEGIN CERTIFICATE',
  );
}
