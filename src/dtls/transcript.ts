/** The messages so far, in the form that is hashed (RFC 8446 §4.4.1). Kept whole: a handshake hashes them five times only. */
import { hashOf, type Vault } from '../crypto/vault.ts';
import { HandshakeType, transcriptForm } from './handshake.ts';

export class Transcript {
  readonly #vault: Vault;
  #chunks: Uint8Array[];

  constructor(vault: Vault, chunks: readonly Uint8Array[] = []) {
    this.#vault = vault;
    this.#chunks = [...chunks];
  }

  add(type: number, body: Uint8Array): void {
    this.#chunks.push(transcriptForm(type, body));
  }

  hash(suite: number): Uint8Array {
    return this.#vault.digest(hashOf(suite), this.#chunks);
  }

  /** The handshake is over; an idle session should not carry its certificates. */
  clear(): void {
    this.#chunks = [];
  }

  /** A retry follows: what there is so far becomes a message_hash. */
  fold(suite: number): void {
    this.#chunks = [messageHash(this.hash(suite))];
  }
}

/** The synthetic message that stands for the first ClientHello after a retry. */
export function messageHash(hash: Uint8Array): Uint8Array {
  return transcriptForm(HandshakeType.messageHash, hash);
}
