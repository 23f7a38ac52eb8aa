/**
 * Cookies of HelloRetryRequest (RFC 8446 §4.2.2, RFC 9147 §5.1): what the server would otherwise have to remember of the
 * first ClientHello, sealed to the peer's address. The secret of a period is drawn from one seed by HMAC, so all shards that
 * share the seed accept each other's cookies; a cookie lives one to two periods.
 */
import { hashLength, hashOf, type Secret, type Vault } from '../crypto/vault.ts';
import { type Micros, SECOND } from '../wire/time.ts';
import { Writer } from './bytes.ts';

/** Long enough for the slowest handshake to begin (protocol specification §2.9: 12.7 s), short enough to matter. */
const PERIOD: Micros = 60 * SECOND;

const APPLICATION_LENGTH = 8;
const MAC_LENGTH = 32;
/** What is authenticated, address included, and what `draw` is drawn from. */
const MAX_MESSAGE = 256;
const DRAW = Buffer.from('application data');
/** period u32 | named u8 | suite u16 | group u16 | application data 8 | hash of ClientHello 32 or 48 | HMAC-SHA-256 */
const FIXED_LENGTH = 4 + 1 + 2 + 2 + APPLICATION_LENGTH;
/** Up to the hash of a ClientHello, the longest there is. */
const MAX_CONTENT = FIXED_LENGTH + 64;

export interface Cookie {
  readonly suite: number;
  readonly group: number;
  /** Whether the retry had to ask for the group; needed to rebuild it for the transcript. */
  readonly named: boolean;
  readonly applicationData: Uint8Array;
  readonly helloHash: Uint8Array;
}

export class CookieSecrets {
  readonly #vault: Vault;
  readonly #seed: Secret;
  readonly #periods = new Map<number, Secret>();
  readonly #message = new Writer(MAX_MESSAGE);

  /** @param seed at least 16 unpredictable bytes, copied */
  constructor(vault: Vault, seed: Uint8Array) {
    if (seed.length < 16) throw new RangeError(`Expected at least 16 bytes for seed but received ${seed.length}`);
    this.#vault = vault;
    this.#seed = vault.importSecret('sha256', seed);
  }

  /** Deterministic within a period. @param address bytes that name the peer: IP and port */
  seal(now: Micros, address: Uint8Array, cookie: Cookie): Uint8Array {
    const period = Math.floor(now / PERIOD);
    const bytes = new Uint8Array(FIXED_LENGTH + cookie.helloHash.length + MAC_LENGTH);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, period);
    bytes[4] = cookie.named ? 1 : 0;
    view.setUint16(5, cookie.suite);
    view.setUint16(7, cookie.group);
    bytes.set(cookie.applicationData, 9);
    bytes.set(cookie.helloHash, FIXED_LENGTH);
    const end = bytes.length - MAC_LENGTH;
    bytes.set(this.#mac(period, this.#begin(address).add(bytes.subarray(0, end))), end);
    return bytes;
  }

  /** @returns undefined if forged, too old, or of another address */
  open(now: Micros, address: Uint8Array, bytes: Uint8Array): Cookie | undefined {
    const end = bytes.length - MAC_LENGTH;
    if (end <= FIXED_LENGTH || end > MAX_CONTENT) return undefined;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const period = view.getUint32(0);
    const age = Math.floor(now / PERIOD) - period;
    if (age !== 0 && age !== 1) return undefined;
    if (!this.#vault.equal(this.#mac(period, this.#begin(address).add(bytes.subarray(0, end))), bytes.subarray(end)))
      return undefined;
    const suite = view.getUint16(5);
    const helloHash = new Uint8Array(bytes.subarray(FIXED_LENGTH, end));
    if (helloHash.length !== hashLength(hashOf(suite))) return undefined;
    const applicationData = new Uint8Array(bytes.subarray(9, FIXED_LENGTH));
    return { suite, group: view.getUint16(7), named: bytes[4] === 1, applicationData, helloHash };
  }

  /** 8 pseudo-random bytes, equal for equal arguments within a period. */
  draw(now: Micros, address: Uint8Array, helloHash: Uint8Array): Uint8Array {
    const mac = this.#mac(Math.floor(now / PERIOD), this.#begin(address).add(DRAW).add(helloHash));
    return mac.slice(0, APPLICATION_LENGTH);
  }

  #begin(address: Uint8Array): Writer {
    return this.#message.begin().prefixed(1, address);
  }

  #mac(period: number, message: Writer): Uint8Array {
    return this.#vault.hmacSha256(this.#secretOf(period), message.view());
  }

  #secretOf(period: number): Secret {
    let secret = this.#periods.get(period);
    if (secret !== undefined) return secret;
    const label = Buffer.alloc(4);
    label.writeUInt32BE(period);
    const bytes = this.#vault.hmacSha256(this.#seed, label);
    secret = this.#vault.importSecret('sha256', bytes);
    bytes.fill(0);
    this.#periods.set(period, secret);
    for (const [old, each] of this.#periods) {
      if (old >= period - 1) continue;
      each.destroy();
      this.#periods.delete(old);
    }
    return secret;
  }
}
