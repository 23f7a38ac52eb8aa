/**
 * Who seals and opens records. DTLS decides when keys appear and change; whoever implements this owns the keys, the send
 * counters and the replay windows. `memory-protection.ts` does it over a vault; the datapath does it over a session's slot.
 */
import type { Secret } from '../crypto/vault.ts';

export type Direction = 'send' | 'receive';

/** Receive epochs kept: old ones open what was reordered around a key update (protocol specification §2.8: 4 slots). */
export const RECEIVE_EPOCHS = 4;
/** Send epochs kept: the newest, and the one before it for what still has to be repeated in it. */
export const SEND_EPOCHS = 2;

export interface Sealed {
  bytes: Uint8Array;
  sequence: number;
}

export interface Opened {
  epoch: number;
  sequence: number;
  contentType: number;
  content: Uint8Array;
}

export interface RecordProtection {
  /** Makes keys of `secret` usable. Takes the secret over and destroys it when its epoch goes. The oldest epoch may go. */
  install(direction: Direction, epoch: number, suite: number, secret: Secret): void;

  /** Next generation ("traffic upd", RFC 8446 §7.2) of the newest secret, installed as the next epoch. @returns that epoch */
  update(direction: Direction): number;

  /** Claims the next number of the epoch, then seals. */
  seal(epoch: number, contentType: number, content: Uint8Array): Sealed;

  /**
   * Opens one protected record: the newest epoch with its two epoch bits, then older ones. The replay window moves only
   * after authentication. @returns undefined if no key opens it
   */
  open(record: Uint8Array): Opened | 'replayed' | undefined;

  /** Forgets the epoch. Nothing happens if there is none. */
  drop(direction: Direction, epoch: number): void;
}
