/** ClientHello, ServerHello and HelloRetryRequest with the extensions DTLS 1.3 needs (RFC 8446 §4.1, §4.2, RFC 9147 §5.3). */
import { Alert, DtlsError } from './alerts.ts';
import { join, prefixed, Reader, u16, u16List, uint, Writer } from './bytes.ts';

export const DTLS12 = 0xfefd;
export const DTLS13 = 0xfefc;

export const Extension = {
  serverName: 0,
  supportedGroups: 10,
  signatureAlgorithms: 13,
  supportedVersions: 43,
  cookie: 44,
  keyShare: 51,
} as const;

/** SHA-256 of "HelloRetryRequest": the random of a ServerHello that is one (RFC 8446 §4.1.3). */
export const RETRY_RANDOM: Uint8Array = Buffer.from(
  'cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c',
  'hex',
);

const RANDOM_LENGTH = 32;
const MAX_SESSION_ID = 32;
/** A HelloRetryRequest: 62 bytes and a session id of 32, and a cookie, which is ours. */
export const MAX_RETRY = 512;
const MAX_EXTENSIONS = 64;
/** Each is compared with those before it: 16,000 empty ones, as many as a datagram holds, would take a tenth of a second. */
const MAX_SHARES = 64;
const NULL_COMPRESSION = Uint8Array.of(1, 0);

export type Extensions = Map<number, Uint8Array>;

export interface KeyShare {
  readonly group: number;
  readonly share: Uint8Array;
}

export interface ClientHello {
  readonly random: Uint8Array;
  readonly sessionId: Uint8Array;
  readonly suites: readonly number[];
  readonly extensions: Extensions;
}

export interface ServerHello {
  readonly random: Uint8Array;
  readonly sessionId: Uint8Array;
  readonly suite: number;
  readonly extensions: Extensions;
}

/** @throws DtlsError for what no DTLS 1.3 client sends: another legacy version, a legacy cookie, compression */
export function decodeClientHello(body: Uint8Array): ClientHello {
  const from = new Reader(body);
  if (from.u16() !== DTLS12) throw new DtlsError(Alert.protocolVersion, 'legacy version is not DTLS 1.2');
  const random = from.take(RANDOM_LENGTH);
  const sessionId = sessionIdFrom(from);
  if (from.prefixed(1).length !== 0) throw new DtlsError(Alert.illegalParameter, 'legacy cookie is not empty');
  const suites = from.u16List();
  const compression = from.prefixed(1);
  if (compression.length !== 1 || compression[0] !== 0)
    throw new DtlsError(Alert.illegalParameter, 'compression offered');
  const extensions = decodeExtensions(from.prefixed(2));
  from.end();
  return { random, sessionId, suites, extensions };
}

export function encodeClientHello(hello: ClientHello): Uint8Array {
  const fixed = join(u16(DTLS12), hello.random, prefixed(1, hello.sessionId), prefixed(1));
  return join(fixed, u16List(hello.suites), NULL_COMPRESSION, encodeExtensions(hello.extensions));
}

/** Also of a HelloRetryRequest. @throws DtlsError */
export function decodeServerHello(body: Uint8Array): ServerHello {
  const from = new Reader(body);
  if (from.u16() !== DTLS12) throw new DtlsError(Alert.protocolVersion, 'legacy version is not DTLS 1.2');
  const random = from.take(RANDOM_LENGTH);
  const sessionId = sessionIdFrom(from);
  const suite = from.u16();
  if (from.u8() !== 0) throw new DtlsError(Alert.illegalParameter, 'compression chosen');
  const extensions = decodeExtensions(from.prefixed(2));
  from.end();
  return { random, sessionId, suite, extensions };
}

export function encodeServerHello(hello: ServerHello): Uint8Array {
  const fixed = join(u16(DTLS12), hello.random, prefixed(1, hello.sessionId), u16(hello.suite), uint(1, 0));
  return join(fixed, encodeExtensions(hello.extensions));
}

/**
 * The HelloRetryRequest for a ClientHello; rebuilt from the cookie alone when that comes back. Extensions in the order in which stock servers
 * write them (protocol specification §2.6).
 */
export function writeRetry(
  to: Writer,
  sessionId: Uint8Array,
  suite: number,
  group: number | undefined,
  cookie: Uint8Array,
): Writer {
  to.uint(2, DTLS12).add(RETRY_RANDOM).prefixed(1, sessionId).uint(2, suite).uint(1, 0);
  const extensions = to.open(2);
  if (group !== undefined) to.uint(2, Extension.keyShare).uint(2, 2).uint(2, group);
  to.uint(2, Extension.supportedVersions).uint(2, 2).uint(2, DTLS13);
  to.uint(2, Extension.cookie)
    .uint(2, cookie.length + 2)
    .prefixed(2, cookie);
  return to.close(2, extensions);
}

export function encodeRetry(
  sessionId: Uint8Array,
  suite: number,
  group: number | undefined,
  cookie: Uint8Array,
): Uint8Array {
  return writeRetry(new Writer(MAX_RETRY), sessionId, suite, group, cookie).take();
}

/** Content without its length prefix is not kept. @throws DtlsError illegal_parameter if one comes twice */
export function decodeExtensions(block: Uint8Array): Extensions {
  const from = new Reader(block);
  const extensions: Extensions = new Map();
  while (from.remaining > 0) {
    const type = from.u16();
    if (extensions.has(type)) throw new DtlsError(Alert.illegalParameter, `extension ${type} comes twice`);
    if (extensions.size === MAX_EXTENSIONS) throw new DtlsError(Alert.decodeError, 'too many extensions');
    extensions.set(type, from.prefixed(2));
  }
  return extensions;
}

export function encodeExtensions(extensions: Extensions): Uint8Array {
  return prefixed(2, ...[...extensions].map(([type, content]) => join(u16(type), prefixed(2, content))));
}

/** @throws DtlsError missing_extension */
export function required(extensions: Extensions, type: number): Uint8Array {
  const content = extensions.get(type);
  if (content === undefined) throw new DtlsError(Alert.missingExtension, `extension ${type} is missing`);
  return content;
}

/** Groups or signature schemes. @throws DtlsError if it is not exactly one list */
export function numbersOf(content: Uint8Array): number[] {
  const from = new Reader(content);
  const numbers = from.u16List();
  from.end();
  return numbers;
}

export function offersDtls13(extensions: Extensions): boolean {
  const versions = new Reader(required(extensions, Extension.supportedVersions)).prefixed(1);
  for (let i = 0; i + 1 < versions.length; i += 2) if (versions[i] * 256 + versions[i + 1] === DTLS13) return true;
  return false;
}

/** Shares of a ClientHello. @throws DtlsError illegal_parameter if a group comes twice, or there are more than groups */
export function keySharesOf(extensions: Extensions): KeyShare[] {
  const content = new Reader(required(extensions, Extension.keyShare));
  const from = new Reader(content.prefixed(2));
  content.end();
  const shares: KeyShare[] = [];
  while (from.remaining > 0) {
    const group = from.u16();
    if (shares.length === MAX_SHARES) throw new DtlsError(Alert.decodeError, 'too many key shares');
    if (shares.some((each) => each.group === group))
      throw new DtlsError(Alert.illegalParameter, 'two shares of one group');
    shares.push({ group, share: from.prefixed(2) });
  }
  return shares;
}

/** The cookie, without its length. @returns undefined if there is none */
export function cookieOf(extensions: Extensions): Uint8Array | undefined {
  const content = extensions.get(Extension.cookie);
  if (content === undefined) return undefined;
  const from = new Reader(content);
  const cookie = from.prefixed(2);
  from.end();
  if (cookie.length === 0) throw new DtlsError(Alert.decodeError, 'cookie is empty');
  return cookie;
}

export function encodeKeyShare({ group, share }: KeyShare): Uint8Array {
  return join(u16(group), prefixed(2, share));
}

function sessionIdFrom(from: Reader): Uint8Array {
  const sessionId = from.prefixed(1);
  if (sessionId.length > MAX_SESSION_ID) throw new DtlsError(Alert.decodeError, 'session id is longer than 32 bytes');
  return sessionId;
}
