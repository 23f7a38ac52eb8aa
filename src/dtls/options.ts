/** How servers, clients and the listener are set up. */
import type { Vault } from '../crypto/vault.ts';
import type { CookieSecrets } from './cookie.ts';
import type { EndpointOptions } from './events.ts';

export interface ListenerOptions {
  readonly vault: Vault;
  readonly secrets: CookieSecrets;
  /** Accepted suites, best first: protocol specification §2.2. */
  readonly suites: readonly number[];
  /** Groups to ask for, best first: `DEFAULT_GROUPS`. */
  readonly groups: readonly number[];
  /** Schemes the server's key can sign with: `schemesOf`. */
  readonly schemes: readonly number[];
  /** No retry is longer than so many times its hello: 3 unless given, which no sound hello reaches. */
  readonly amplification?: number;
  /**
   * The 8 bytes a cookie carries for the session (its id). `seed` is 8 pseudo-random bytes of this ClientHello and address:
   * equal copies of a ClientHello must get equal retries, so derive the answer from it and from nothing that changes.
   */
  readonly applicationData: (seed: Uint8Array) => Uint8Array;
}

/** Why a datagram of an unknown peer starts nothing. */
export type HelloDrop =
  | 'notHello' /** not a plaintext record that begins with a whole, or the first piece of a, ClientHello */
  | 'malformed'
  | 'fragmented' /** in pieces, and without a valid cookie in the first */
  | 'noCommonSuite'
  | 'noCommonGroup'
  | 'noCommonScheme'
  | 'notDtls13'
  | 'missingExtension'
  | 'staleCookie' /** of another address, or older than two lifetimes of a secret, or forged */
  | 'amplification'; /** the retry would be longer than `amplification` times the request */

/** What a server handshake starts from. Made by `answerHello` from a ClientHello with a valid cookie. */
export interface AcceptedHello {
  readonly suite: number;
  readonly group: number;
  /** Transcript up to here: message_hash of the first ClientHello, HelloRetryRequest. */
  readonly transcript: readonly Uint8Array[];
  /** The datagram, to be received first. */
  readonly datagram: Uint8Array;
}

export type HelloAnswer =
  /** DTLS bytes to send back. Nothing is remembered. */
  | { kind: 'retry'; bytes: Uint8Array; applicationData: Uint8Array }
  /** The address is proven: `new DtlsServer(now, accepted, options)`. */
  | { kind: 'accept'; accepted: AcceptedHello; applicationData: Uint8Array }
  /** `bytes`, if any, is a fatal alert that tells a well-meaning client why; sending it is optional. */
  | { kind: 'drop'; reason: HelloDrop; bytes: Uint8Array | undefined };

export interface ServerOptions extends EndpointOptions {
  /** DER, leaf first. */
  readonly certificateChain: readonly Uint8Array[];
  /** What its key can sign with, best first: `schemesOf(privateKey)`. */
  readonly schemes: readonly number[];
}

export interface ClientOptions extends EndpointOptions {
  /** Offered suites, best first. */
  readonly suites: readonly number[];
  /** Offered groups, best first. */
  readonly groups: readonly number[];
  /** Group of the one share in the first ClientHello; undefined sends none and waits to be asked. Default: the first group. */
  readonly share?: number | undefined;
  /** Offered signature schemes; default all known. */
  readonly schemes?: readonly number[] | undefined;
  /** server_name extension; stock clients send none. */
  readonly serverName?: string | undefined;
}
