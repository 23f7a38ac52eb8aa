/** Record protection over a vault, in memory: for tests, tools, and epochs before the datapath takes over. */
import type { RecordKeys, Secret, Vault } from '../crypto/vault.ts';
import {
  type Direction,
  type Opened,
  RECEIVE_EPOCHS,
  type RecordProtection,
  SEND_EPOCHS,
  type Sealed,
} from './protection.ts';
import { ReplayWindow } from './window.ts';

/** Record numbers are 48 bits; nobody gets there, since keys change long before. */
const MAX_SEQUENCE = 2 ** 48 - 1;
const NO_CONTEXT = new Uint8Array(0);

interface Epoch {
  readonly epoch: number;
  readonly keys: RecordKeys;
  readonly suite: number;
  /** Gone from all but the newest epoch: older generations must not be derivable. */
  secret: Secret | undefined;
  sent: number;
  readonly window: ReplayWindow;
}

export function createMemoryProtection(vault: Vault): RecordProtection {
  return new MemoryProtection(vault);
}

class MemoryProtection implements RecordProtection {
  readonly #vault: Vault;
  /** Newest first. */
  readonly #epochs: Record<Direction, Epoch[]> = { send: [], receive: [] };

  constructor(vault: Vault) {
    this.#vault = vault;
  }

  install(direction: Direction, epoch: number, suite: number, secret: Secret): void {
    const epochs = this.#epochs[direction];
    const keys = this.#vault.recordKeys(suite, secret);
    if (epochs.length > 0) {
      epochs[0].secret?.destroy();
      epochs[0].secret = undefined;
    }
    epochs.unshift({ epoch, keys, suite, secret, sent: 0, window: new ReplayWindow() });
    while (epochs.length > (direction === 'send' ? SEND_EPOCHS : RECEIVE_EPOCHS)) forget(epochs.pop());
  }

  update(direction: Direction): number {
    const newest = this.#epochs[direction][0];
    if (newest?.secret === undefined) throw new RangeError(`Expected keys to ${direction} with before an update`);
    const next = this.#vault.expand(newest.secret, 'traffic upd', NO_CONTEXT);
    this.install(direction, newest.epoch + 1, newest.suite, next);
    return newest.epoch + 1;
  }

  seal(epoch: number, contentType: number, content: Uint8Array): Sealed {
    const state = this.#epochs.send.find((each) => each.epoch === epoch);
    if (state === undefined || state.sent > MAX_SEQUENCE)
      throw new RangeError(`Expected a usable send epoch but received ${epoch}`);
    const sequence = state.sent++;
    return { bytes: this.#vault.sealRecord(state.keys, epoch, sequence, contentType, content), sequence };
  }

  open(record: Uint8Array): Opened | 'replayed' | undefined {
    for (const state of this.#epochs.receive) {
      if ((state.epoch & 3) !== (record[0] & 3)) continue;
      const opened = this.#vault.openRecord(state.keys, record, state.window.next);
      if (opened === undefined) continue;
      if (!state.window.isNew(opened.sequence)) return 'replayed';
      state.window.mark(opened.sequence);
      return { epoch: state.epoch, ...opened };
    }
    return undefined;
  }

  drop(direction: Direction, epoch: number): void {
    const epochs = this.#epochs[direction];
    const index = epochs.findIndex((each) => each.epoch === epoch);
    if (index >= 0) forget(epochs.splice(index, 1)[0]);
  }
}

function forget(epoch: Epoch | undefined): void {
  epoch?.keys.destroy();
  epoch?.secret?.destroy();
}
