/** Handshake messages on the wire (RFC 9147 §5.2) and in the transcript (RFC 8446 §4). */
import { Alert, DtlsError } from './alerts.ts';
import { join, prefixed, Reader, u16, uint } from './bytes.ts';

export const HandshakeType = {
  clientHello: 1,
  serverHello: 2,
  newSessionTicket: 4,
  encryptedExtensions: 8,
  certificate: 11,
  certificateRequest: 13,
  certificateVerify: 15,
  finished: 20,
  keyUpdate: 24,
  messageHash: 254,
} as const;

/** `type u8 | length u24 | message_seq u16 | fragment_offset u24 | fragment_length u24` */
export const FRAGMENT_HEADER = 12;

export interface Message {
  readonly type: number;
  readonly sequence: number;
  readonly body: Uint8Array;
}

export interface Fragment extends Message {
  /** Bytes of the whole message; `body` is the part from `offset`. */
  readonly length: number;
  readonly offset: number;
}

/** Where a message belongs: ClientHello and ServerHello in plaintext, the rest of the handshake in epoch 2, then data epochs. */
export function epochClass(type: number): 0 | 2 | 3 | undefined {
  switch (type) {
    case HandshakeType.clientHello:
    case HandshakeType.serverHello:
      return 0;
    case HandshakeType.encryptedExtensions:
    case HandshakeType.certificate:
    case HandshakeType.certificateRequest:
    case HandshakeType.certificateVerify:
    case HandshakeType.finished:
      return 2;
    case HandshakeType.newSessionTicket:
    case HandshakeType.keyUpdate:
      return 3;
    default:
      return undefined;
  }
}

/** All fragments of one record, as views. @throws DtlsError if they do not fill it exactly, or one exceeds its message */
export function decodeFragments(content: Uint8Array): Fragment[] {
  const from = new Reader(content);
  const fragments: Fragment[] = [];
  do {
    const type = from.u8();
    const length = from.uint(3);
    const sequence = from.u16();
    const offset = from.uint(3);
    const size = from.uint(3);
    const body = from.take(size);
    if (offset + size > length) throw new DtlsError(Alert.decodeError, 'fragment goes beyond its message');
    fragments.push({ type, length, sequence, offset, body });
  } while (from.remaining > 0);
  return fragments;
}

/** Cuts a message into fragments whose bodies have at most `limit` bytes, headers included in the result. */
export function encodeFragments(message: Message, limit: number): Uint8Array[] {
  const { type, sequence, body } = message;
  const fragments: Uint8Array[] = [];
  let offset = 0;
  do {
    const part = body.subarray(offset, offset + limit);
    const position = join(uint(3, offset), uint(3, part.length));
    fragments.push(join(uint(1, type), uint(3, body.length), u16(sequence), position, part));
    offset += part.length;
  } while (offset < body.length);
  return fragments;
}

/** The form that is hashed: TLS header of 4 bytes, no message_seq, no fragments (RFC 9147 §5.2). */
export function transcriptForm(type: number, body: Uint8Array): Uint8Array {
  return join(uint(1, type), prefixed(3, body));
}
