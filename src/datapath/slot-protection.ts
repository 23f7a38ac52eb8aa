/**
 * Record protection of one session for `dtls/`: handshake epochs live in memory for as long as the handshake lasts, epochs
 * from 3 up in the session's slot, where the bulk nodes seal and open with the same keys, numbers and windows, and where
 * the next engine finds them.
 */

import { secretHandle } from '../crypto/native-vault.ts';
import type { Secret, Vault } from '../crypto/vault.ts';
import { createMemoryProtection } from '../dtls/memory-protection.ts';
import type { Direction, Opened, RecordProtection, Sealed } from '../dtls/protection.ts';
import type { Addon, LanesHandle } from '../native/index.ts';

/** RFC 9147 §6.1: 0 plaintext, 1 early data, 2 handshake, 3 the first application epoch. */
const HANDSHAKE_EPOCH = 2;
const FIRST_DATA_EPOCH = 3;

export class SlotProtection implements RecordProtection {
  readonly #addon: Addon;
  readonly #lanes: LanesHandle;
  readonly #slot: number;
  #handshake: RecordProtection | undefined;
  readonly #vault: Vault;

  constructor(addon: Addon, lanes: LanesHandle, slot: number, vault: Vault) {
    this.#addon = addon;
    this.#lanes = lanes;
    this.#slot = slot;
    this.#vault = vault;
  }

  install(direction: Direction, epoch: number, suite: number, secret: Secret): void {
    if (epoch < FIRST_DATA_EPOCH) {
      const handshake = this.#handshake ?? createMemoryProtection(this.#vault);
      this.#handshake = handshake;
      handshake.install(direction, epoch, suite, secret);
      return;
    }
    this.#addon.slotInstall(this.#lanes, this.#slot, direction, epoch, suite, secretHandle(secret));
  }

  update(direction: Direction): number {
    return this.#addon.slotUpdate(this.#lanes, this.#slot, direction);
  }

  seal(epoch: number, contentType: number, content: Uint8Array): Sealed {
    if (epoch < FIRST_DATA_EPOCH && this.#handshake) return this.#handshake.seal(epoch, contentType, content);
    return this.#addon.slotSeal(this.#lanes, this.#slot, epoch, contentType, content);
  }

  open(record: Uint8Array): Opened | 'replayed' | undefined {
    const handshake = (record[0] & 3) === 2 ? this.#handshake?.open(record) : undefined;
    return handshake ?? this.#addon.slotOpen(this.#lanes, this.#slot, record);
  }

  /** The session is Online: both ends have seen that the handshake is over, and nothing of its epochs will be said again. */
  forgetHandshake(): void {
    for (const direction of ['send', 'receive'] as const) this.#handshake?.drop(direction, HANDSHAKE_EPOCH);
    this.#handshake = undefined;
  }

  drop(direction: Direction, epoch: number): void {
    if (epoch < FIRST_DATA_EPOCH) this.#handshake?.drop(direction, epoch);
    else this.#addon.slotDrop(this.#lanes, this.#slot, direction, epoch);
  }
}
