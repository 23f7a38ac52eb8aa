/** Cutting a datagram into records, and the plaintext record of epoch 0 (RFC 9147 §4). */
import { Writer } from './bytes.ts';

export const ContentType = { changeCipherSpec: 20, alert: 21, handshake: 22, applicationData: 23, ack: 26 } as const;

/** `type u8 | fe fd | epoch u16 | number u48 | length u16` */
export const PLAINTEXT_HEADER = 13;
const LEGACY_VERSION = 0xfefd;
/** More records in one datagram than any peer sends; what follows is not looked at. */
const MAX_RECORDS = 64;

export interface PlaintextRecord {
  readonly kind: 'plaintext';
  readonly contentType: number;
  readonly sequence: number;
  readonly content: Uint8Array;
}

export type RawRecord =
  | PlaintextRecord
  | { readonly kind: 'protected'; readonly bytes: Uint8Array }
  | { readonly kind: 'malformed' };

/** Views of the records of a datagram. What cannot be cut any further ends the list as one malformed record. Never throws. */
export function splitRecords(datagram: Uint8Array): RawRecord[] {
  const records: RawRecord[] = [];
  for (let rest = datagram; rest.length > 0; ) {
    const length = records.length < MAX_RECORDS ? recordLength(rest) : 0;
    if (length === 0) {
      records.push({ kind: 'malformed' });
      return records;
    }
    const bytes = rest.subarray(0, length);
    records.push(isUnified(bytes[0]) ? { kind: 'protected', bytes } : plaintext(bytes));
    rest = rest.subarray(length);
  }
  return records;
}

export function encodePlaintext(contentType: number, sequence: number, content: Uint8Array): Uint8Array {
  const to = new Writer(PLAINTEXT_HEADER + content.length);
  return writePlaintextHeader(to, contentType, sequence).prefixed(2, content).bytes;
}

/** All but the length. */
export function writePlaintextHeader(to: Writer, contentType: number, sequence: number): Writer {
  return to.uint(1, contentType).uint(2, LEGACY_VERSION).uint(2, 0).uint(6, sequence);
}

function isUnified(first: number): boolean {
  return (first & 0xe0) === 0x20;
}

/** Bytes of the first record, 0 if it has no sound header or does not end in time. */
function recordLength(bytes: Uint8Array): number {
  let header = PLAINTEXT_HEADER;
  if (isUnified(bytes[0])) {
    if ((bytes[0] & 0x10) !== 0) return 0; // a connection id, which is never negotiated
    const numberLength = (bytes[0] & 0x08) !== 0 ? 2 : 1;
    if ((bytes[0] & 0x04) === 0) return bytes.length; // no length: the last record of the datagram
    header = 1 + numberLength + 2;
  } else if (bytes[0] < ContentType.changeCipherSpec || bytes[0] > ContentType.ack) {
    return 0;
  }
  if (bytes.length < header) return 0;
  const length = header + bytes[header - 2] * 256 + bytes[header - 1];
  return length <= bytes.length ? length : 0;
}

function plaintext(bytes: Uint8Array): RawRecord {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const epoch = view.getUint16(3);
  const sequence = view.getUint16(5) * 0x1_0000_0000 + view.getUint32(7);
  if (epoch !== 0 || bytes[1] !== 0xfe) return { kind: 'malformed' }; // DTLS 1.2 has plaintext headers in later epochs
  return { kind: 'plaintext', contentType: bytes[0], sequence, content: bytes.subarray(PLAINTEXT_HEADER) };
}

/** Whether a datagram's bytes begin with a ClientHello in plaintext, or a piece of one. */
export function isClientHello(bytes: Uint8Array): boolean {
  return bytes.length > 13 && bytes[0] === ContentType.handshake && bytes[3] === 0 && bytes[4] === 0 && bytes[13] === 1;
}
