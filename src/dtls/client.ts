/** The client's side of a handshake (RFC 8446 §2, RFC 9147 §5). */
import { GROUPS } from '../crypto/groups.ts';
import { SCHEMES } from '../crypto/schemes.ts';
import type { TaskResult } from '../crypto/tasks.ts';
import type { Secret } from '../crypto/vault.ts';
import type { Micros } from '../wire/time.ts';
import { Alert, DtlsError } from './alerts.ts';
import { join, prefixed, Reader, u16, u16List, uint } from './bytes.ts';
import { DtlsEndpoint } from './endpoint.ts';
import { HandshakeType, type Message } from './handshake.ts';
import {
  cookieOf,
  DTLS13,
  decodeServerHello,
  Extension,
  type Extensions,
  encodeClientHello,
  encodeKeyShare,
  RETRY_RANDOM,
  required,
  type ServerHello,
} from './hello.ts';
import { KeySchedule } from './key-schedule.ts';
import {
  checkEncryptedExtensions,
  decodeCertificate,
  decodeCertificateRequest,
  decodeCertificateVerify,
  encodeCertificate,
  serverSignatureContent,
} from './messages.ts';
import type { ClientOptions } from './options.ts';
import { Transcript } from './transcript.ts';

/** The longest chain that is taken, and it with its neighbours. */
const MAX_MESSAGE = 65_536;
const MAX_REASSEMBLY = 131_072;
/** A first ClientHello must be one record in one datagram, since no server reassembles it: with a longer share it asks first. */
const MAX_FIRST_HELLO = 1_400;
const RANDOM_LENGTH = 32;
const EMPTY = new Uint8Array(0);

type Step =
  | 'share'
  | 'serverHello'
  | 'newShare'
  | 'keyExchange'
  | 'encryptedExtensions'
  | 'certificate'
  | 'certificateVerify'
  | 'verification'
  | 'finished'
  | 'acknowledgement'
  | 'done';

interface OwnShare {
  readonly group: number;
  readonly privateKey: Uint8Array;
  readonly share: Uint8Array;
}

interface Keys {
  readonly schedule: KeySchedule;
  /** For the two verify_data. */
  readonly client: Secret;
  readonly server: Secret;
}

export class DtlsClient extends DtlsEndpoint {
  readonly #options: ClientOptions;
  readonly #transcript: Transcript;
  readonly #clientRandom: Uint8Array;
  #step: Step = 'share';
  #own: OwnShare | undefined;
  /** Group whose share the last ClientHello carried. */
  #offered: number | undefined;
  #wanted: number;
  #cookie: Uint8Array | undefined;
  #retried = false;
  #suite = 0;
  #chain: Uint8Array[] = [];
  #certificateContext: Uint8Array | undefined;
  #keys: Keys | undefined;

  constructor(options: ClientOptions) {
    super(
      { role: 'client', firstSent: 0, firstReceived: 0, maxMessage: MAX_MESSAGE, maxReassembly: MAX_REASSEMBLY },
      options,
    );
    this.#options = options;
    this.#transcript = new Transcript(options.vault);
    this.#clientRandom = options.random(RANDOM_LENGTH);
    this.#wanted = 'share' in options ? (options.share ?? 0) : options.groups[0];
    for (const group of options.groups)
      if (!GROUPS.has(group)) throw new RangeError(`Expected known groups but received ${group}`);
    if (this.#wanted !== 0 && !options.groups.includes(this.#wanted))
      throw new RangeError('Expected one of groups for share');
  }

  /** Call once, before anything else. */
  start(now: Micros): void {
    if (this.#wanted === 0) this.#firstHello(now);
    else this.runTask({ op: 'keygen', group: this.#wanted });
  }

  protected override handshakeMessage(now: Micros, message: Message): void {
    const { type } = message;
    const due = (step: Step, expected: number): boolean => this.#step === step && type === expected;
    if (due('serverHello', HandshakeType.serverHello)) this.#serverHello(now, message);
    else if (due('encryptedExtensions', HandshakeType.encryptedExtensions)) this.#extensions(message);
    else if (due('certificate', HandshakeType.certificateRequest)) this.#certificateRequest(message);
    else if (due('certificate', HandshakeType.certificate)) this.#certificate(message);
    else if (due('certificateVerify', HandshakeType.certificateVerify)) this.#signature(message);
    else if (due('finished', HandshakeType.finished)) this.#finished(now, message);
    else throw new DtlsError(Alert.unexpectedMessage, `message ${type} while waiting for ${this.#step}`);
  }

  protected override taskDone(now: Micros, result: TaskResult): void {
    if (result.op === 'keygen' && (this.#step === 'share' || this.#step === 'newShare')) {
      this.#forgetShare();
      this.#own = { group: this.#wanted, privateKey: result.privateKey, share: result.share };
      if (this.#step === 'share') this.#firstHello(now);
      else this.#secondHello(now);
    } else if (result.op === 'decapsulate' && this.#step === 'keyExchange') {
      this.#handshakeKeys(now, result.secret);
    } else if (result.op === 'verifyPeer' && this.#step === 'verification') {
      this.#step = 'finished';
    } else {
      throw new TypeError(`Expected the result of another task but received ${result.op}`);
    }
  }

  /** The server has our Finished: it said so, or it sent what only a finished server sends. */
  protected override flightAcknowledged(): void {
    if (this.#step !== 'acknowledgement') return;
    this.#step = 'done';
    this.establish(this.#own?.group ?? this.#wanted, this.#chain, true);
  }

  protected override forgetHandshake(): void {
    this.#transcript.clear();
    this.#chain = [];
    this.#forgetShare();
    this.#keys?.schedule.destroy();
    this.#keys?.client.destroy();
    this.#keys?.server.destroy();
    this.#keys = undefined;
  }

  // The hellos

  #firstHello(now: Micros): void {
    let body = this.#hello(this.#own);
    this.#offered = this.#own?.group;
    if (body.length > MAX_FIRST_HELLO) {
      body = this.#hello(undefined);
      this.#offered = undefined;
    }
    this.#sendHello(now, body, true);
  }

  #secondHello(now: Micros): void {
    this.#offered = this.#own?.group;
    this.#sendHello(now, this.#hello(this.#own), false);
  }

  #sendHello(now: Micros, body: Uint8Array, whole: boolean): void {
    this.#transcript.add(HandshakeType.clientHello, body);
    this.#step = 'serverHello';
    this.sendFlight(now, 0, [[HandshakeType.clientHello, body]], whole);
  }

  /** Extensions in the order of stock clients: the cookie comes early, so it is in the first fragment (§2.5, §2.6). */
  #hello(own: OwnShare | undefined): Uint8Array {
    const { suites, groups, schemes, serverName } = this.#options;
    const extensions: Extensions = new Map([[Extension.supportedVersions, prefixed(1, u16(DTLS13))]]);
    if (this.#cookie !== undefined) extensions.set(Extension.cookie, prefixed(2, this.#cookie));
    extensions.set(Extension.signatureAlgorithms, u16List(schemes ?? [...SCHEMES.keys()]));
    extensions.set(Extension.supportedGroups, u16List(groups));
    if (serverName !== undefined && serverName !== '')
      extensions.set(Extension.serverName, encodeServerName(serverName));
    extensions.set(Extension.keyShare, prefixed(2, own === undefined ? EMPTY : encodeKeyShare(own)));
    return encodeClientHello({ random: this.#clientRandom, sessionId: EMPTY, suites, extensions });
  }

  #serverHello(now: Micros, { type, body }: Message): void {
    const hello = decodeServerHello(body);
    const version = new Reader(required(hello.extensions, Extension.supportedVersions));
    if (version.u16() !== DTLS13) throw new DtlsError(Alert.illegalParameter, 'server chose another version');
    version.end();
    if (hello.sessionId.length !== 0) throw new DtlsError(Alert.illegalParameter, 'server made up a session id');
    const known = this.#suite === 0 ? this.#options.suites.includes(hello.suite) : this.#suite === hello.suite;
    if (!known) throw new DtlsError(Alert.illegalParameter, 'server chose a suite that was not offered');
    this.#suite = hello.suite;
    this.answered(now);
    if (this.vault.equal(hello.random, RETRY_RANDOM)) {
      this.#retry(now, hello, body);
    } else {
      this.#transcript.add(type, body);
      this.#keyExchange(hello);
    }
  }

  #retry(now: Micros, { extensions }: ServerHello, body: Uint8Array): void {
    if (this.#retried) throw new DtlsError(Alert.unexpectedMessage, 'a second HelloRetryRequest');
    this.#retried = true;
    this.#transcript.fold(this.#suite);
    this.#transcript.add(HandshakeType.serverHello, body);
    this.#cookie = cookieOf(extensions);
    const group = retriedGroup(extensions);
    if (group === undefined) {
      if (this.#cookie === undefined || this.#offered === undefined)
        throw new DtlsError(Alert.illegalParameter, 'retry changes nothing');
      this.#secondHello(now);
      return;
    }
    if (!this.#options.groups.includes(group) || group === this.#offered) {
      throw new DtlsError(Alert.illegalParameter, 'server asks for a group that was not offered, or already sent');
    }
    this.#wanted = group;
    if (this.#own?.group === group) {
      this.#secondHello(now); // the share was made, but too long for the first ClientHello
    } else {
      this.#step = 'newShare';
      this.runTask({ op: 'keygen', group });
    }
  }

  #keyExchange({ extensions }: ServerHello): void {
    const from = new Reader(required(extensions, Extension.keyShare));
    const group = from.u16();
    const peerShare = from.prefixed(2);
    from.end();
    const own = this.#own;
    if (own === undefined || group !== this.#offered || peerShare.length !== GROUPS.get(group)?.serverShareLength) {
      throw new DtlsError(Alert.illegalParameter, 'share of the server does not fit');
    }
    this.#step = 'keyExchange';
    this.runTask({ op: 'decapsulate', group, privateKey: new Uint8Array(own.privateKey), peerShare });
  }

  // The server's flight and ours

  #handshakeKeys(now: Micros, secret: Uint8Array): void {
    const schedule = new KeySchedule(this.vault, this.#suite, secret);
    const hash = this.#transcript.hash(this.#suite);
    this.#keys = {
      schedule,
      client: schedule.handshakeTraffic('client', hash),
      server: schedule.handshakeTraffic('server', hash),
    };
    this.#step = 'encryptedExtensions';
    this.install(now, 'send', 2, this.#suite, schedule.handshakeTraffic('client', hash));
    this.install(now, 'receive', 2, this.#suite, schedule.handshakeTraffic('server', hash)); // last: it lets held records in
  }

  #extensions({ type, body }: Message): void {
    checkEncryptedExtensions(body);
    this.#transcript.add(type, body);
    this.#step = 'certificate';
  }

  #certificateRequest({ type, body }: Message): void {
    if (this.#certificateContext !== undefined)
      throw new DtlsError(Alert.unexpectedMessage, 'a second CertificateRequest');
    this.#certificateContext = decodeCertificateRequest(body);
    this.#transcript.add(type, body);
  }

  #certificate({ type, body }: Message): void {
    this.#chain = decodeCertificate(body).map((der) => new Uint8Array(der));
    this.#transcript.add(type, body);
    this.#step = 'certificateVerify';
  }

  #signature({ type, body }: Message): void {
    const { scheme, signature } = decodeCertificateVerify(body);
    const offered = this.#options.schemes?.includes(scheme) ?? SCHEMES.has(scheme);
    if (!offered) throw new DtlsError(Alert.illegalParameter, 'server signed with a scheme that was not offered');
    const content = serverSignatureContent(this.#transcript.hash(this.#suite));
    this.#transcript.add(type, body);
    this.#step = 'verification';
    this.runTask({ op: 'verifyPeer', chain: this.#chain, scheme, content, signature });
  }

  #finished(now: Micros, { type, body }: Message): void {
    const { schedule, client, server } = this.#keys!;
    const expected = this.vault.finished(server, this.#transcript.hash(this.#suite));
    if (!this.vault.equal(expected, body)) throw new DtlsError(Alert.decryptError, 'Finished of the server is wrong');
    this.answered(now);
    this.#transcript.add(type, body);
    const hash = this.#transcript.hash(this.#suite);
    this.flightReceived(false);
    if (this.#certificateContext !== undefined) this.#noCertificate(now, this.#certificateContext);
    const verifyData = this.vault.finished(client, this.#transcript.hash(this.#suite));
    this.sendFlight(now, 2, [[HandshakeType.finished, verifyData]]);
    this.#step = 'acknowledgement';
    this.install(now, 'send', 3, this.#suite, schedule.applicationTraffic('client', hash));
    this.install(now, 'receive', 3, this.#suite, schedule.applicationTraffic('server', hash)); // last, as above
  }

  /** Answers a request for a certificate: there is none; whether that will do is the server's to say. */
  #noCertificate(now: Micros, context: Uint8Array): void {
    const body = encodeCertificate(context, []);
    this.#transcript.add(HandshakeType.certificate, body);
    this.sendFlight(now, 2, [[HandshakeType.certificate, body]]);
  }

  #forgetShare(): void {
    this.#own?.privateKey.fill(0);
    this.#own = undefined;
  }
}

function encodeServerName(name: string): Uint8Array {
  return prefixed(2, join(uint(1, 0), prefixed(2, Buffer.from(name, 'latin1')))); // RFC 6066 §3
}

/** The group a retry asks for. */
function retriedGroup(extensions: Extensions): number | undefined {
  const content = extensions.get(Extension.keyShare);
  if (content === undefined) return undefined;
  const from = new Reader(content);
  const group = from.u16();
  from.end();
  return group;
}
