/** The server's side of a handshake, from a ClientHello with a proven cookie to the client's Finished (RFC 8446 §2). */
import { GROUPS } from '../crypto/groups.ts';
import type { TaskResult } from '../crypto/tasks.ts';
import type { Secret } from '../crypto/vault.ts';
import type { Micros } from '../wire/time.ts';
import { Alert, DtlsError } from './alerts.ts';
import { u16 } from './bytes.ts';
import { DtlsEndpoint } from './endpoint.ts';
import { HandshakeType, type Message } from './handshake.ts';
import {
  DTLS13,
  decodeClientHello,
  Extension,
  type Extensions,
  encodeKeyShare,
  encodeServerHello,
  keySharesOf,
  numbersOf,
  offersDtls13,
  required,
} from './hello.ts';
import { KeySchedule } from './key-schedule.ts';
import {
  EMPTY_ENCRYPTED_EXTENSIONS,
  encodeCertificate,
  encodeCertificateVerify,
  serverSignatureContent,
} from './messages.ts';
import type { AcceptedHello, ServerOptions } from './options.ts';
import { Transcript } from './transcript.ts';

/** A second ClientHello with a share of P-521 and ML-KEM-1024 has 1,945 bytes; nothing else a client sends is near. */
const MAX_MESSAGE = 8_192;
const MAX_REASSEMBLY = 16_384;
const RANDOM_LENGTH = 32;
const NO_CONTEXT = new Uint8Array(0);

type Step = 'clientHello' | 'keyExchange' | 'signature' | 'finished' | 'done';

interface Keys {
  readonly schedule: KeySchedule;
  /** For the two verify_data. */
  readonly client: Secret;
  readonly server: Secret;
}

export class DtlsServer extends DtlsEndpoint {
  readonly #options: ServerOptions;
  readonly #suite: number;
  readonly #group: number;
  readonly #transcript: Transcript;
  #step: Step = 'clientHello';
  #sessionId: Uint8Array = NO_CONTEXT;
  #scheme = 0;
  #keys: Keys | undefined;
  #clientTraffic: Secret | undefined;

  /** Takes in the accepted datagram at once: drain it. */
  constructor(now: Micros, accepted: AcceptedHello, options: ServerOptions) {
    super(
      { role: 'server', firstSent: 1, firstReceived: 1, maxMessage: MAX_MESSAGE, maxReassembly: MAX_REASSEMBLY },
      options,
    );
    this.#options = options;
    this.#suite = accepted.suite;
    this.#group = accepted.group;
    this.#transcript = new Transcript(options.vault, accepted.transcript);
    this.answered(now); // nothing was sent, but a client that breaks off here is not waited for longer than any other
    this.receive(now, accepted.datagram);
  }

  protected override handshakeMessage(now: Micros, message: Message): void {
    const { type } = message;
    if (this.#step === 'clientHello' && type === HandshakeType.clientHello) this.#clientHello(now, message);
    else if (this.#step === 'finished' && type === HandshakeType.finished) this.#finished(now, message);
    else throw new DtlsError(Alert.unexpectedMessage, `message ${type} while waiting for ${this.#step}`);
  }

  protected override taskDone(now: Micros, result: TaskResult): void {
    if (this.#step === 'keyExchange' && result.op === 'encapsulate')
      this.#serverHello(now, result.share, result.secret);
    else if (this.#step === 'signature' && result.op === 'sign') this.#serverFinished(now, result.signature);
    else throw new TypeError(`Expected the result of another task but received ${result.op}`);
  }

  protected override flightAcknowledged(): void {} // the client's Finished says more

  protected override forgetHandshake(): void {
    this.#transcript.clear();
    this.#keys?.schedule.destroy();
    this.#keys?.client.destroy();
    this.#keys?.server.destroy();
    this.#keys = undefined;
    if (this.#step !== 'done') this.#clientTraffic?.destroy();
    this.#clientTraffic = undefined;
  }

  #clientHello(now: Micros, { type, body }: Message): void {
    const hello = decodeClientHello(body);
    const { extensions } = hello;
    const groups = numbersOf(required(extensions, Extension.supportedGroups));
    const schemes = numbersOf(required(extensions, Extension.signatureAlgorithms));
    const share = keySharesOf(extensions).find((each) => each.group === this.#group);
    const kept = hello.suites.includes(this.#suite) && groups.includes(this.#group) && offersDtls13(extensions);
    if (!kept || share?.share.length !== GROUPS.get(this.#group)?.clientShareLength || share === undefined) {
      throw new DtlsError(Alert.illegalParameter, 'second ClientHello does not do what the retry asked for');
    }
    const scheme = this.#options.schemes.find((each) => schemes.includes(each));
    if (scheme === undefined) throw new DtlsError(Alert.handshakeFailure, 'no signature scheme in common');
    this.answered(now);
    this.#scheme = scheme;
    this.#sessionId = hello.sessionId;
    this.#transcript.add(type, body);
    this.#step = 'keyExchange';
    this.runTask({ op: 'encapsulate', group: this.#group, peerShare: share.share });
  }

  /** The client can decapsulate and read the certificate while this side still signs. */
  #serverHello(now: Micros, share: Uint8Array, secret: Uint8Array): void {
    const extensions: Extensions = new Map([
      [Extension.keyShare, encodeKeyShare({ group: this.#group, share })],
      [Extension.supportedVersions, u16(DTLS13)],
    ]);
    const random = this.random(RANDOM_LENGTH);
    const hello = encodeServerHello({ random, sessionId: this.#sessionId, suite: this.#suite, extensions });
    this.#transcript.add(HandshakeType.serverHello, hello);
    const schedule = new KeySchedule(this.vault, this.#suite, secret);
    const hash = this.#transcript.hash(this.#suite);
    this.#keys = {
      schedule,
      client: schedule.handshakeTraffic('client', hash),
      server: schedule.handshakeTraffic('server', hash),
    };
    this.followPeerNumbers();
    this.sendFlight(now, 0, [[HandshakeType.serverHello, hello]]);
    this.install(now, 'send', 2, this.#suite, schedule.handshakeTraffic('server', hash));
    this.install(now, 'receive', 2, this.#suite, schedule.handshakeTraffic('client', hash));

    const certificate = encodeCertificate(NO_CONTEXT, this.#options.certificateChain);
    this.#sendProtected(now, HandshakeType.encryptedExtensions, EMPTY_ENCRYPTED_EXTENSIONS);
    this.#sendProtected(now, HandshakeType.certificate, certificate);
    this.#step = 'signature';
    const content = serverSignatureContent(this.#transcript.hash(this.#suite));
    this.runTask({ op: 'sign', scheme: this.#scheme, content });
  }

  #serverFinished(now: Micros, signature: Uint8Array): void {
    const { schedule, server } = this.#keys!;
    this.#sendProtected(now, HandshakeType.certificateVerify, encodeCertificateVerify(this.#scheme, signature));
    this.#sendProtected(now, HandshakeType.finished, this.vault.finished(server, this.#transcript.hash(this.#suite)));
    const hash = this.#transcript.hash(this.#suite);
    this.install(now, 'send', 3, this.#suite, schedule.applicationTraffic('server', hash));
    this.#clientTraffic = schedule.applicationTraffic('client', hash);
    this.#step = 'finished';
  }

  #finished(now: Micros, { body }: Message): void {
    const expected = this.vault.finished(this.#keys!.client, this.#transcript.hash(this.#suite));
    if (!this.vault.equal(expected, body)) throw new DtlsError(Alert.decryptError, 'Finished of the client is wrong');
    const traffic = this.#clientTraffic!;
    this.#step = 'done';
    this.flightReceived(true); // stock clients wait for this ACK before anything else (protocol specification §2.7)
    this.establish(this.#group, [], false);
    this.install(now, 'receive', 3, this.#suite, traffic);
  }

  #sendProtected(now: Micros, type: number, body: Uint8Array): void {
    this.#transcript.add(type, body);
    this.sendFlight(now, 2, [[type, body]]);
  }
}
