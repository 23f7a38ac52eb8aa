/** Bodies of the messages after the hellos (RFC 8446 §4.3, §4.4, §4.6.3) and of ACK (RFC 9147 §7). */
import { Alert, DtlsError } from './alerts.ts';
import { join, prefixed, Reader, u16, uint } from './bytes.ts';
import { decodeExtensions } from './hello.ts';

/** More than anyone sends, less than would hurt. */
const MAX_CERTIFICATES = 16;
const MAX_ACKED = 256;
const RECORD_NUMBER_LENGTH = 16;
const NO_EXTENSIONS = u16(0);

/** EncryptedExtensions with nothing to say. */
export const EMPTY_ENCRYPTED_EXTENSIONS: Uint8Array = NO_EXTENSIONS;

/** @throws DtlsError if it does not parse; unknown extensions are ignored */
export function checkEncryptedExtensions(body: Uint8Array): void {
  const from = new Reader(body);
  decodeExtensions(from.prefixed(2));
  from.end();
}

/** Certificate with an empty list is the answer of a client that has none. */
export function encodeCertificate(context: Uint8Array, chain: readonly Uint8Array[]): Uint8Array {
  return join(prefixed(1, context), prefixed(3, ...chain.map((der) => join(prefixed(3, der), NO_EXTENSIONS))));
}

/** Chain of a server: no context, at least one certificate; views. @throws DtlsError */
export function decodeCertificate(body: Uint8Array): Uint8Array[] {
  const from = new Reader(body);
  if (from.prefixed(1).length !== 0) throw new DtlsError(Alert.illegalParameter, 'certificate context of a server');
  const list = new Reader(from.prefixed(3));
  from.end();
  const chain: Uint8Array[] = [];
  while (list.remaining > 0) {
    const der = list.prefixed(3);
    if (der.length === 0 || chain.length === MAX_CERTIFICATES)
      throw new DtlsError(Alert.badCertificate, 'certificate list');
    chain.push(der);
    decodeExtensions(list.prefixed(2));
  }
  if (chain.length === 0) throw new DtlsError(Alert.decodeError, 'no certificate in the list');
  return chain;
}

/** @returns the context to answer with */
export function decodeCertificateRequest(body: Uint8Array): Uint8Array {
  const from = new Reader(body);
  const context = from.prefixed(1);
  decodeExtensions(from.prefixed(2));
  from.end();
  return context;
}

export function encodeCertificateVerify(scheme: number, signature: Uint8Array): Uint8Array {
  return join(u16(scheme), prefixed(2, signature));
}

export function decodeCertificateVerify(body: Uint8Array): { scheme: number; signature: Uint8Array } {
  const from = new Reader(body);
  const scheme = from.u16();
  const signature = from.prefixed(2);
  from.end();
  return { scheme, signature };
}

/** What a server signs (RFC 8446 §4.4.3): 64 spaces, context, zero, transcript hash. */
export function serverSignatureContent(transcriptHash: Uint8Array): Uint8Array {
  return join(
    new Uint8Array(64).fill(0x20),
    Buffer.from('TLS 1.3, server CertificateVerify\0', 'latin1'),
    transcriptHash,
  );
}

export function encodeKeyUpdate(requestPeer: boolean): Uint8Array {
  return uint(1, requestPeer ? 1 : 0);
}

/** @returns whether the peer wants an update back. @throws DtlsError for any other value */
export function decodeKeyUpdate(body: Uint8Array): boolean {
  if (body.length !== 1) throw new DtlsError(Alert.decodeError, 'key update is not one byte');
  if (body[0] > 1) throw new DtlsError(Alert.illegalParameter, 'key update asks for the unknown');
  return body[0] === 1;
}

export interface RecordNumber {
  readonly epoch: number;
  readonly sequence: number;
}

export function encodeAck(records: readonly RecordNumber[]): Uint8Array {
  return prefixed(2, ...records.map(({ epoch, sequence }) => join(uint(8, epoch), uint(8, sequence))));
}

/** At most the first 256. @throws DtlsError */
export function decodeAck(content: Uint8Array): RecordNumber[] {
  const outer = new Reader(content);
  const from = new Reader(outer.prefixed(2));
  outer.end();
  if (from.remaining % RECORD_NUMBER_LENGTH !== 0)
    throw new DtlsError(Alert.decodeError, 'ACK of a broken record number');
  const records: RecordNumber[] = [];
  while (from.remaining > 0 && records.length < MAX_ACKED) {
    records.push({ epoch: wide(from), sequence: wide(from) });
  }
  return records;
}

/** 64 bits; beyond 2^53 it is only inexact, and nothing we sent. */
function wide(from: Reader): number {
  return from.uint(4) * 0x1_0000_0000 + from.uint(4);
}
