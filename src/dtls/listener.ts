/**
 * What to answer a datagram of a peer nobody knows, without remembering anything (RFC 9147 §5.1). A ClientHello without
 * cookie gets a retry with one; only a peer that shows a cookie of its own address gets as far as memory.
 */
import { GROUPS } from '../crypto/groups.ts';
import { hashOf } from '../crypto/vault.ts';
import type { Micros } from '../wire/time.ts';
import { Alert, DtlsError, encodeAlert } from './alerts.ts';
import { Reader, Writer } from './bytes.ts';
import type { Cookie } from './cookie.ts';
import { decodeFragments, FRAGMENT_HEADER, type Fragment, HandshakeType, transcriptForm } from './handshake.ts';
import {
  type ClientHello,
  cookieOf,
  decodeClientHello,
  Extension,
  encodeRetry,
  keySharesOf,
  MAX_RETRY,
  numbersOf,
  offersDtls13,
  required,
  writeRetry,
} from './hello.ts';
import type { AcceptedHello, HelloAnswer, HelloDrop, ListenerOptions } from './options.ts';
import {
  ContentType,
  encodePlaintext,
  PLAINTEXT_HEADER,
  type PlaintextRecord,
  splitRecords,
  writePlaintextHeader,
} from './records.ts';
import { messageHash } from './transcript.ts';

/** No reply to an unproven address is longer than this many times what it sent (RFC 9000 §8 has the same limit). */
const MAX_AMPLIFICATION = 3;
/** message_seq of the ClientHello that answers a retry. */
const SECOND_HELLO = 1;
/** legacy_version, random: what a ClientHello begins with. */
const HELLO_PREFIX = 34;
/** Where a retry is written, record header and all; and the header of a ClientHello as it is hashed. */
const scratch = new Writer(PLAINTEXT_HEADER + FRAGMENT_HEADER + MAX_RETRY);
const hashed = new Writer(4);

class HelloRefusal extends Error {
  readonly reason: HelloDrop;
  readonly alert: number | undefined;

  constructor(reason: HelloDrop, alert?: number) {
    super(reason);
    this.reason = reason;
    this.alert = alert;
  }
}

interface FirstPiece {
  readonly record: PlaintextRecord;
  readonly fragment: Fragment;
}

/**
 * @param datagram DTLS bytes, without what the Lightway header adds
 * @param address bytes that name the peer: IP and port
 * Never throws on what a stranger sent.
 */
export function answerHello(
  now: Micros,
  datagram: Uint8Array,
  address: Uint8Array,
  options: ListenerOptions,
): HelloAnswer {
  let piece: FirstPiece | undefined;
  try {
    piece = firstPiece(datagram);
    const { fragment } = piece;
    if (fragment.body.length < fragment.length) return acceptPiece(now, datagram, address, options, piece);
    const hello = decodeClientHello(fragment.body);
    const cookie = cookieOf(hello.extensions);
    if (cookie !== undefined) return accept(now, datagram, address, options, piece, hello.sessionId, cookie);
    return retry(now, datagram, address, options, piece, hello);
  } catch (error) {
    const { reason, alert } = explain(error);
    const bytes = alert === undefined || piece === undefined ? undefined : alertRecord(piece, alert);
    return { kind: 'drop', reason, bytes };
  }
}

function explain(error: unknown): { reason: HelloDrop; alert: number | undefined } {
  if (error instanceof HelloRefusal) return error;
  if (!(error instanceof DtlsError)) throw error;
  if (error.alert === Alert.missingExtension) return { reason: 'missingExtension', alert: error.alert };
  if (error.alert === Alert.protocolVersion) return { reason: 'notDtls13', alert: error.alert };
  return { reason: 'malformed', alert: undefined };
}

function alertRecord(piece: FirstPiece, alert: number): Uint8Array {
  return encodePlaintext(ContentType.alert, piece.record.sequence, encodeAlert(alert));
}

/** Only the first record of a datagram can begin a handshake. */
function firstPiece(datagram: Uint8Array): FirstPiece {
  const record = splitRecords(datagram)[0];
  if (record?.kind !== 'plaintext' || record.contentType !== ContentType.handshake) throw new HelloRefusal('notHello');
  const [fragment] = decodeFragments(record.content);
  if (fragment.type !== HandshakeType.clientHello || fragment.sequence > SECOND_HELLO)
    throw new HelloRefusal('notHello');
  if (fragment.offset !== 0) throw new HelloRefusal('fragmented');
  return { record, fragment };
}

/** A second ClientHello in pieces: its first must hold the cookie (protocol specification §2.6). */
function acceptPiece(
  now: Micros,
  datagram: Uint8Array,
  address: Uint8Array,
  options: ListenerOptions,
  piece: FirstPiece,
): HelloAnswer {
  let found: { sessionId: Uint8Array; cookie: Uint8Array | undefined };
  try {
    found = cookieInPrefix(piece.fragment.body);
  } catch {
    throw new HelloRefusal('fragmented'); // it ends before a cookie comes
  }
  if (found.cookie === undefined) throw new HelloRefusal('fragmented');
  return accept(now, datagram, address, options, piece, found.sessionId, found.cookie);
}

/** Reads a ClientHello that breaks off somewhere. @throws DtlsError if it does so before the end of the cookie */
function cookieInPrefix(body: Uint8Array): { sessionId: Uint8Array; cookie: Uint8Array | undefined } {
  const from = new Reader(body);
  from.take(HELLO_PREFIX);
  const sessionId = from.prefixed(1);
  from.prefixed(1); // legacy cookie
  from.prefixed(2); // suites
  from.prefixed(1); // compression
  from.u16(); // length of the extensions, of which only some are here
  for (;;) {
    const type = from.u16();
    const content = from.prefixed(2);
    if (type === Extension.cookie) return { sessionId, cookie: cookieOf(new Map([[type, content]])) };
  }
}

function accept(
  now: Micros,
  datagram: Uint8Array,
  address: Uint8Array,
  options: ListenerOptions,
  piece: FirstPiece,
  sessionId: Uint8Array,
  bytes: Uint8Array,
): HelloAnswer {
  if (piece.fragment.sequence !== SECOND_HELLO) throw new HelloRefusal('notHello');
  const cookie = options.secrets.open(now, address, bytes);
  if (cookie === undefined) throw new HelloRefusal('staleCookie');
  const { suite, group } = cookie;
  const retryBody = encodeRetry(sessionId, suite, cookie.named ? group : undefined, bytes);
  const transcript = [messageHash(cookie.helloHash), transcriptForm(HandshakeType.serverHello, retryBody)];
  const accepted: AcceptedHello = { suite, group, transcript, datagram };
  return { kind: 'accept', accepted, applicationData: cookie.applicationData };
}

function retry(
  now: Micros,
  datagram: Uint8Array,
  address: Uint8Array,
  options: ListenerOptions,
  piece: FirstPiece,
  hello: ClientHello,
): HelloAnswer {
  if (piece.fragment.sequence !== 0) throw new HelloRefusal('notHello');
  const { vault, secrets } = options;
  const choice = choose(hello, options);
  const { body } = piece.fragment;
  const form = hashed.begin().uint(1, HandshakeType.clientHello).uint(3, body.length); // as transcriptForm has it
  const helloHash = vault.digest(hashOf(choice.suite), [form.bytes, body]);
  const applicationData = options.applicationData(secrets.draw(now, address, helloHash));
  const cookie: Cookie = { ...choice, applicationData, helloHash };
  const named = choice.named ? choice.group : undefined;
  writePlaintextHeader(scratch.begin(), ContentType.handshake, piece.record.sequence);
  const record = scratch.open(2);
  scratch.uint(1, HandshakeType.serverHello).uint(3, 0).uint(2, 0).uint(3, 0);
  const message = scratch.open(3);
  writeRetry(scratch, hello.sessionId, choice.suite, named, secrets.seal(now, address, cookie));
  scratch.close(3, message).close(2, record);
  scratch.bytes.copyWithin(record + 1, message - 3, message); // the message is its only fragment
  if (scratch.length > (options.amplification ?? MAX_AMPLIFICATION) * datagram.length)
    throw new HelloRefusal('amplification');
  return { kind: 'retry', bytes: scratch.take(), applicationData };
}

/** Suite and group by our preference, and whether the client has to be asked for a share of it. */
function choose(hello: ClientHello, options: ListenerOptions): { suite: number; group: number; named: boolean } {
  const { extensions } = hello;
  if (!offersDtls13(extensions)) throw new HelloRefusal('notDtls13', Alert.protocolVersion);
  const shares = keySharesOf(extensions);
  const groups = numbersOf(required(extensions, Extension.supportedGroups));
  const schemes = numbersOf(required(extensions, Extension.signatureAlgorithms));
  const suite = options.suites.find((each) => hello.suites.includes(each));
  if (suite === undefined) throw new HelloRefusal('noCommonSuite', Alert.handshakeFailure);
  const group = options.groups.find((each) => groups.includes(each));
  if (group === undefined) throw new HelloRefusal('noCommonGroup', Alert.handshakeFailure);
  if (!options.schemes.some((each) => schemes.includes(each))) {
    throw new HelloRefusal('noCommonScheme', Alert.handshakeFailure);
  }
  const offered = shares.find((each) => each.group === group);
  if (offered !== undefined && offered.share.length !== GROUPS.get(group)?.clientShareLength)
    throw new HelloRefusal('malformed');
  return { suite, group, named: offered === undefined };
}
