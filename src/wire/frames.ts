// Lightway frames: what (D)TLS application data is made of (protocol specification §3). `kind u8 | payload`, back to back, with no
// outer length. Over UDP a record holds whole frames (`decodeFrame` until it is used up); over TCP any split may occur (`FrameStream`).

import { decodeExpresslaneConfig, type ExpresslaneConfig, encodeExpresslaneConfig, KEY_SIZE } from './expresslane.ts';
import { type SessionId, type Version, versionOf } from './header.ts';
import { Reader, WireError, Writer } from './reader.ts';

// §3.2. Kinds 8 to 11 and 13 are history; a peer's parser stops for ever at a kind it does not know.
const Kind = {
  noOp: 1,
  ping: 2,
  pong: 3,
  authRequest: 4,
  data: 5,
  authSuccess: 6,
  authFailure: 7,
  goodbye: 12,
  serverConfig: 14,
  dataFrag: 15,
  encodedData: 16,
  encodedDataFrag: 17,
  encodingRequest: 18,
  encodingResponse: 19,
  expresslaneConfig: 20,
} as const;

const Method = { userPass: 1, token: 2, versionedToken: 3, custom: 23 } as const; // §3.5

export const MAX_CREDENTIAL_LENGTH = 50;
export const MAX_TOKEN_LENGTH = 1347;
export const MAX_VERSIONED_TOKEN_LENGTH = 1345;
export const MAX_CUSTOM_LENGTH = 1347;
export const MAX_SERVER_CONFIG_LENGTH = 1348;
export const MAX_TEXT_LENGTH = 23; // addresses and MTU of AuthSuccess, in fields of 24 with at least one NUL

/** A Data frame of the longest packet there is, and a little more: DataFrag has four bytes more in front. */
export const MAX_FRAME_LENGTH = 7 + 0xffff;

/** The longest frame that means anything before login: an AuthRequest with a token, or a ServerConfig. */
export const MAX_LOGIN_FRAME_LENGTH = 4 + MAX_TOKEN_LENGTH;

const AUTH_FAILURE_LENGTH = 52; // zeros
const TEXT_FIELD = MAX_TEXT_LENGTH + 1;
const OFFSET_MASK = 0x1fff;
const MORE_FRAGMENTS = 0x2000;

/** Ping (kind 2) and Pong (3): `id u16 | length u16 | payload`. Id 0 keeps alive, others probe the path MTU. */
export type Echo = { kind: 'ping' | 'pong'; id: number; payload: Uint8Array };

/** How a client says who it is (§3.5). Stock clients send `userPass` and `versionedToken`. */
export type Auth =
  /** A decoded password is a view into its record: whoever is done with it zeroes it. */
  | { method: 'userPass'; user: string; password: Uint8Array }
  | { method: 'token'; token: string }
  | { method: 'versionedToken'; version: Version; token: string }
  | { method: 'custom'; payload: Uint8Array };

export type AuthRequest = { kind: 'authRequest'; auth: Auth };

/** AuthSuccessWithConfigV4: four texts of at most 23 bytes each, NUL-padded to 24, and a session id that clients ignore. */
export type AuthSuccess = {
  kind: 'authSuccess';
  localIp: string;
  peerIp: string;
  dnsIp: string;
  /** Decimal text, as it stands on the wire. */
  mtu: string;
  sessionId: SessionId;
};

/** One inner packet: `length u16 | packet`. */
export type Data = { kind: 'data' | 'encodedData'; packet: Uint8Array };

/** A piece of one: `length u16 | id u16 | more and offset/8 u16 | piece`. `offset` is a multiple of 8, at most 65,528. */
export type DataFrag = {
  kind: 'dataFrag' | 'encodedDataFrag';
  id: number;
  offset: number;
  more: boolean;
  piece: Uint8Array;
};

export type Frame =
  | { kind: 'noOp' | 'authFailure' | 'goodbye' }
  | Echo
  | AuthRequest
  | AuthSuccess
  | Data
  | DataFrag
  | { kind: 'serverConfig'; payload: Uint8Array }
  | { kind: 'encodingRequest' | 'encodingResponse'; id: bigint; enable: boolean }
  | ExpresslaneConfig;

/**
 * Reads one frame; byte fields are views into the record. After an error the reader stands anywhere: leave the rest of the record.
 * @throws WireError TRUNCATED, UNKNOWN_KIND, BAD_VALUE, BAD_TEXT, BAD_VERSION, TOO_LARGE
 */
export function decodeFrame(from: Reader): Frame {
  const kind = from.u8();
  switch (kind) {
    case Kind.noOp:
      return { kind: 'noOp' };
    case Kind.ping:
      return decodeEcho('ping', from);
    case Kind.pong:
      return decodeEcho('pong', from);
    case Kind.authRequest:
      return { kind: 'authRequest', auth: decodeAuth(from) };
    case Kind.data:
      return { kind: 'data', packet: from.take(from.u16()) };
    case Kind.authSuccess:
      return decodeAuthSuccess(from);
    case Kind.authFailure:
      from.skip(AUTH_FAILURE_LENGTH);
      return { kind: 'authFailure' };
    case Kind.goodbye:
      return { kind: 'goodbye' };
    case Kind.serverConfig:
      return { kind: 'serverConfig', payload: from.take(limited(from.u16(), MAX_SERVER_CONFIG_LENGTH)) };
    case Kind.dataFrag:
      return decodeDataFrag('dataFrag', from);
    case Kind.encodedData:
      return { kind: 'encodedData', packet: from.take(from.u16()) };
    case Kind.encodedDataFrag:
      return decodeDataFrag('encodedDataFrag', from);
    case Kind.encodingRequest:
      return { kind: 'encodingRequest', id: from.u64(), enable: decodeBoolean(from) };
    case Kind.encodingResponse:
      return { kind: 'encodingResponse', id: from.u64(), enable: decodeBoolean(from) };
    case Kind.expresslaneConfig:
      return decodeExpresslaneConfig(from);
    default:
      throw new WireError('UNKNOWN_KIND', `frame kind ${kind} is unknown`);
  }
}

/** @throws WireError TOO_LARGE, BAD_VALUE when a field does not fit its place: such a frame must never leave */
export function encodeFrame(frame: Frame): Uint8Array {
  switch (frame.kind) {
    case 'noOp':
    case 'goodbye':
      return new Writer(1).u8(Kind[frame.kind]).bytes;
    case 'authFailure':
      return new Writer(1 + AUTH_FAILURE_LENGTH).u8(Kind.authFailure).bytes;
    case 'ping':
    case 'pong': {
      const length = limited(frame.payload.length, 0xffff);
      return new Writer(5 + length).u8(Kind[frame.kind]).u16(frame.id).u16(length).put(frame.payload).bytes;
    }
    case 'authRequest':
      return encodeAuth(frame.auth);
    case 'authSuccess':
      return encodeAuthSuccess(frame);
    case 'data':
    case 'encodedData': {
      const length = limited(frame.packet.length, 0xffff);
      return new Writer(3 + length).u8(Kind[frame.kind]).u16(length).put(frame.packet).bytes;
    }
    case 'dataFrag':
    case 'encodedDataFrag':
      return encodeDataFrag(frame);
    case 'serverConfig': {
      const length = limited(frame.payload.length, MAX_SERVER_CONFIG_LENGTH);
      return new Writer(3 + length).u8(Kind.serverConfig).u16(length).put(frame.payload).bytes;
    }
    case 'encodingRequest':
    case 'encodingResponse':
      return new Writer(10)
        .u8(Kind[frame.kind])
        .u64(frame.id)
        .u8(frame.enable ? 1 : 0).bytes;
    case 'expresslaneConfig': {
      const to = new Writer(13 + KEY_SIZE).u8(Kind.expresslaneConfig);
      encodeExpresslaneConfig(frame, to);
      return to.bytes;
    }
  }
}

/**
 * How long the frame at `offset` is, as far as the bytes up to `end` tell.
 * @returns 0 while too few bytes are there to know
 * @throws WireError UNKNOWN_KIND, BAD_VALUE (authentication method), TOO_LARGE, as soon as the bytes show it
 */
export function frameLength(bytes: Uint8Array, offset: number, end: number): number {
  if (offset >= end) return 0;
  const u16 = (at: number): number => (offset + at + 2 > end ? -1 : (bytes[offset + at] << 8) | bytes[offset + at + 1]);
  const sized = (at: number, head: number, limit = 0xffff): number => {
    const length = u16(at);
    return length < 0 ? 0 : head + limited(length, limit);
  };
  switch (bytes[offset]) {
    case Kind.noOp:
    case Kind.goodbye:
      return 1;
    case Kind.ping:
    case Kind.pong:
      return sized(3, 5);
    case Kind.authRequest:
      return offset + 1 >= end ? 0 : authLength(bytes[offset + 1], sized);
    case Kind.data:
    case Kind.encodedData:
      return sized(1, 3);
    case Kind.authSuccess:
      return 1 + 4 * TEXT_FIELD + 8;
    case Kind.authFailure:
      return 1 + AUTH_FAILURE_LENGTH;
    case Kind.serverConfig:
      return sized(1, 3, MAX_SERVER_CONFIG_LENGTH);
    case Kind.dataFrag:
    case Kind.encodedDataFrag:
      return sized(1, 7);
    case Kind.encodingRequest:
    case Kind.encodingResponse:
      return 10;
    case Kind.expresslaneConfig:
      return 13 + KEY_SIZE;
    default:
      throw new WireError('UNKNOWN_KIND', `frame kind ${bytes[offset]} is unknown`);
  }
}

function authLength(method: number, sized: (at: number, head: number, limit: number) => number): number {
  if (method === Method.userPass) return 4 + 2 * MAX_CREDENTIAL_LENGTH;
  if (method === Method.token) return sized(2, 4, MAX_TOKEN_LENGTH);
  if (method === Method.versionedToken) return sized(4, 6, MAX_VERSIONED_TOKEN_LENGTH);
  if (method === Method.custom) return sized(2, 4, MAX_CUSTOM_LENGTH);
  throw new WireError('BAD_VALUE', `authentication method ${method} is unknown`);
}

/**
 * Puts the frames of a byte stream together again. Holds nothing between whole frames; what it holds of a partial one grows with
 * what has really arrived, not with what its length field claims.
 */
export class FrameStream {
  /** Longest frame accepted. Raised at login, so that a stranger cannot make us keep 64 KiB. */
  limit = MAX_LOGIN_FRAME_LENGTH;
  #partial: Uint8Array | undefined;
  #held = 0;
  #bytes: Uint8Array | undefined;
  #offset = 0;

  /** Takes the next bytes of the stream. Frames of an earlier push stay valid; call `next` until it has no more first. */
  push(bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.#offset = 0;
  }

  /** @returns the next whole frame, if there is one. @throws WireError, after which the stream is lost */
  next(): Frame | undefined {
    if (this.#bytes === undefined) return undefined;
    if (this.#held > 0) return this.#complete();
    const { length } = this.#bytes;
    const need = this.#limited(frameLength(this.#bytes, this.#offset, length));
    if (need === 0 || need > length - this.#offset) {
      if (this.#offset < length) this.#hold(length - this.#offset, need);
      this.#bytes = undefined;
      return undefined;
    }
    const frame = decodeFrame(new Reader(this.#bytes, this.#offset, this.#offset + need));
    this.#offset += need;
    return frame;
  }

  /** Bytes of a frame that is not whole yet. */
  get held(): number {
    return this.#held;
  }

  // A byte at a time until the length is known (at most seven), then all that is missing in one piece.
  #complete(): Frame | undefined {
    for (;;) {
      const partial = this.#partial as Uint8Array;
      const need = this.#limited(frameLength(partial, 0, this.#held));
      if (need > 0 && need <= this.#held) {
        const frame = decodeFrame(new Reader(partial, 0, need));
        this.#partial = undefined; // given away: the frame's views live in it
        this.#held = 0;
        return frame;
      }
      const rest = (this.#bytes as Uint8Array).length - this.#offset;
      if (rest === 0) {
        this.#bytes = undefined;
        return undefined;
      }
      this.#hold(need === 0 ? 1 : Math.min(rest, need - this.#held), need);
    }
  }

  #hold(length: number, need: number): void {
    const bytes = this.#bytes as Uint8Array;
    const held = this.#held + length;
    if (this.#partial === undefined || held > this.#partial.length) {
      const grown = new Uint8Array(Math.max(held, Math.min(need, 2 * held), 8));
      if (this.#partial !== undefined) grown.set(this.#partial.subarray(0, this.#held));
      this.#partial = grown;
    }
    this.#partial.set(bytes.subarray(this.#offset, this.#offset + length), this.#held);
    this.#held = held;
    this.#offset += length;
  }

  #limited(length: number): number {
    return limited(length, this.limit);
  }
}

/** The longest piece of a fragmented packet for a frame of at most `plpmtu` bytes (§3.4); every piece but the last has it. */
export function maxPieceLength(plpmtu: number): number {
  return (plpmtu - 7) & ~7;
}

/** The longest packet that fits a Data frame of at most `plpmtu` bytes. */
export function maxDataLength(plpmtu: number): number {
  return plpmtu - 3;
}

function decodeEcho(kind: Echo['kind'], from: Reader): Echo {
  const id = from.u16();
  return { kind, id, payload: from.take(from.u16()) };
}

function decodeAuth(from: Reader): Auth {
  const method = from.u8();
  switch (method) {
    case Method.userPass: {
      const userLength = limited(from.u8(), MAX_CREDENTIAL_LENGTH);
      const passwordLength = limited(from.u8(), MAX_CREDENTIAL_LENGTH);
      const user = decodeText(from.take(MAX_CREDENTIAL_LENGTH).subarray(0, userLength));
      const password = from.take(MAX_CREDENTIAL_LENGTH).subarray(0, passwordLength);
      return { method: 'userPass', user, password };
    }
    case Method.token:
      return { method: 'token', token: decodeText(from.take(limited(from.u16(), MAX_TOKEN_LENGTH))) };
    case Method.versionedToken: {
      const major = from.u8();
      const minor = from.u8();
      const bytes = from.take(limited(from.u16(), MAX_VERSIONED_TOKEN_LENGTH));
      return { method: 'versionedToken', version: versionOf(major, minor), token: decodeText(bytes) };
    }
    case Method.custom:
      return { method: 'custom', payload: from.take(limited(from.u16(), MAX_CUSTOM_LENGTH)) };
    default:
      throw new WireError('BAD_VALUE', `authentication method ${method} is unknown`);
  }
}

function encodeAuth(auth: Auth): Uint8Array {
  switch (auth.method) {
    case 'userPass': {
      const user = encodeText(auth.user, MAX_CREDENTIAL_LENGTH);
      const { password } = auth;
      limited(password.length, MAX_CREDENTIAL_LENGTH);
      const to = new Writer(4 + 2 * MAX_CREDENTIAL_LENGTH).u8(Kind.authRequest).u8(Method.userPass);
      to.u8(user.length).u8(password.length);
      return to.padded(user, MAX_CREDENTIAL_LENGTH).padded(password, MAX_CREDENTIAL_LENGTH).bytes;
    }
    case 'token': {
      const token = encodeText(auth.token, MAX_TOKEN_LENGTH);
      const to = new Writer(4 + token.length).u8(Kind.authRequest).u8(Method.token);
      return to.u16(token.length).put(token).bytes;
    }
    case 'versionedToken': {
      const token = encodeText(auth.token, MAX_VERSIONED_TOKEN_LENGTH);
      const to = new Writer(6 + token.length).u8(Kind.authRequest).u8(Method.versionedToken);
      return to.u8(auth.version.major).u8(auth.version.minor).u16(token.length).put(token).bytes;
    }
    case 'custom': {
      const length = limited(auth.payload.length, MAX_CUSTOM_LENGTH);
      const to = new Writer(4 + length).u8(Kind.authRequest).u8(Method.custom);
      return to.u16(length).put(auth.payload).bytes;
    }
  }
}

function decodeAuthSuccess(from: Reader): AuthSuccess {
  const localIp = decodePadded(from);
  const peerIp = decodePadded(from);
  const dnsIp = decodePadded(from);
  const mtu = decodePadded(from);
  return { kind: 'authSuccess', localIp, peerIp, dnsIp, mtu, sessionId: from.u64() };
}

function encodeAuthSuccess(frame: AuthSuccess): Uint8Array {
  const to = new Writer(1 + 4 * TEXT_FIELD + 8).u8(Kind.authSuccess);
  for (const text of [frame.localIp, frame.peerIp, frame.dnsIp, frame.mtu]) {
    to.padded(encodeText(text, MAX_TEXT_LENGTH), TEXT_FIELD);
  }
  return to.u64(frame.sessionId).bytes;
}

// Up to the first NUL of the first 23 bytes; the 24th is skipped whatever it is (§3.6).
function decodePadded(from: Reader): string {
  const field = from.take(TEXT_FIELD).subarray(0, MAX_TEXT_LENGTH);
  const end = field.indexOf(0);
  return decodeText(end < 0 ? field : field.subarray(0, end));
}

function decodeDataFrag(kind: DataFrag['kind'], from: Reader): DataFrag {
  const length = from.u16();
  const id = from.u16();
  const position = from.u16();
  const offset = (position & OFFSET_MASK) * 8;
  return { kind, id, offset, more: (position & MORE_FRAGMENTS) !== 0, piece: from.take(length) };
}

function encodeDataFrag(frame: DataFrag): Uint8Array {
  if (frame.offset % 8 !== 0) throw new WireError('BAD_VALUE', `fragment offset ${frame.offset} is no multiple of 8`);
  const position = limited(frame.offset / 8, OFFSET_MASK) | (frame.more ? MORE_FRAGMENTS : 0);
  const length = limited(frame.piece.length, 0xffff);
  const to = new Writer(7 + length).u8(Kind[frame.kind]).u16(length).u16(frame.id).u16(position);
  return to.put(frame.piece).bytes;
}

function decodeBoolean(from: Reader): boolean {
  const value = from.u8();
  if (value > 1) throw new WireError('BAD_VALUE', `a boolean is 0 or 1, not ${value}`);
  return value === 1;
}

// A leading U+FEFF is part of a name like any other character.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const toUtf8 = new TextEncoder();

function decodeText(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw new WireError('BAD_TEXT', 'text is not UTF-8');
  }
}

function encodeText(text: string, limit: number): Uint8Array {
  const bytes = toUtf8.encode(text);
  limited(bytes.length, limit);
  return bytes;
}

function limited(length: number, limit: number): number {
  if (length > limit) throw new WireError('TOO_LARGE', `length ${length} is above ${limit}`);
  return length;
}
