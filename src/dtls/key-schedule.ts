/** The key schedule without PSK (RFC 8446 §7.1 with the labels of RFC 9147 §5.9), on handles. */
import { type HashName, hashOf, type Secret, type Vault } from '../crypto/vault.ts';

export type Side = 'client' | 'server';

const PREFIX: Record<Side, string> = { client: 'c', server: 's' };
const NO_CONTEXT = new Uint8Array(0);

export class KeySchedule {
  readonly #vault: Vault;
  readonly #hash: HashName;
  readonly #handshake: Secret;

  /** Zeroes `shared`. */
  constructor(vault: Vault, suite: number, shared: Uint8Array) {
    this.#vault = vault;
    this.#hash = hashOf(suite);
    const early = vault.extract(this.#hash, undefined, undefined);
    const salt = this.#derive(early);
    const secret = vault.importSecret(this.#hash, shared);
    shared.fill(0);
    this.#handshake = vault.extract(this.#hash, salt, secret);
    for (const each of [early, salt, secret]) each.destroy();
  }

  /** A new handle at each call: one to install, another to make verify_data with. @param transcriptHash up to ServerHello */
  handshakeTraffic(side: Side, transcriptHash: Uint8Array): Secret {
    return this.#vault.expand(this.#handshake, `${PREFIX[side]} hs traffic`, transcriptHash);
  }

  /** @param transcriptHash up to the server's Finished */
  applicationTraffic(side: Side, transcriptHash: Uint8Array): Secret {
    const salt = this.#derive(this.#handshake);
    const master = this.#vault.extract(this.#hash, salt, undefined);
    const traffic = this.#vault.expand(master, `${PREFIX[side]} ap traffic`, transcriptHash);
    salt.destroy();
    master.destroy();
    return traffic;
  }

  destroy(): void {
    this.#handshake.destroy();
  }

  #derive(secret: Secret): Secret {
    return this.#vault.expand(secret, 'derived', this.#vault.digest(this.#hash, [NO_CONTEXT]));
  }
}
