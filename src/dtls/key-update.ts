/**
 * Key updates of an established endpoint (RFC 8446 §4.6.3, RFC 9147 §8): a sender goes to its next epoch only when its
 * KeyUpdate is acknowledged, and has one under way at most. A receiver goes at once and keeps the old epoch a while.
 */
import type { Micros } from '../wire/time.ts';
import { Alert, DtlsError } from './alerts.ts';
import { decodeKeyUpdate, encodeKeyUpdate } from './messages.ts';
import type { Direction } from './protection.ts';

/** idle · ours is unacknowledged · the same, and an answer to the peer's is owed after it. */
export type UpdateState = 'idle' | 'sent' | 'sentAndOwing';

/**
 * Beyond more generations than a session of years makes; keeps epochs within 16 bits. Told by the epoch, which a snapshot holds, so that the next
 * engine goes on counting.
 */
const LAST_EPOCH = 65_003;

interface Steps {
  transmit(now: Micros, body: Uint8Array): void;
  advanceKeys(direction: Direction): void;
  receiveEpoch(): number;
}

export class KeyUpdater {
  state: UpdateState = 'idle';
  readonly #steps: Steps;

  constructor(steps: Steps) {
    this.#steps = steps;
  }

  /** @returns false while one is unacknowledged */
  start(now: Micros, requestPeer: boolean): boolean {
    if (this.state !== 'idle') return false;
    this.state = 'sent';
    this.#steps.transmit(now, encodeKeyUpdate(requestPeer));
    return true;
  }

  acknowledged(now: Micros): void {
    if (this.state === 'idle') return;
    const owing = this.state === 'sentAndOwing';
    this.state = 'idle';
    this.#steps.advanceKeys('send');
    if (owing) this.start(now, false);
  }

  received(now: Micros, body: Uint8Array): void {
    const wanted = decodeKeyUpdate(body);
    if (this.#steps.receiveEpoch() >= LAST_EPOCH) throw new DtlsError(Alert.unexpectedMessage, 'too many key updates');
    this.#steps.advanceKeys('receive');
    if (!wanted) return;
    if (this.state === 'idle') this.start(now, false);
    else this.state = 'sentAndOwing';
  }
}
