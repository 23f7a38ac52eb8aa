/**
 * The secret half of the session table for those who must see it: the reference nodes, when the table was opened for them
 * (`--aead noble`, tests). Everybody else leaves it to the addon.
 *
 *   RecordSecret[epoch & 3]  key 32 | iv 12 | suite u16 | epoch u16 | number key 32 | traffic secret 48
 *   LaneSecret               key 32 | salt 4 | valid u32 | 8 unused
 */
import { SECRET_OFFSETS, SECRET_SLOT_BYTES } from '../layout.ts';

const RECORD = { size: 128, key: 0, iv: 32, suite: 44, epoch: 46, number: 48, traffic: 80 } as const;
const LANE = { size: 48, key: 0, salt: 32, valid: 36 } as const;

export type LaneName = 'laneSend' | 'laneStaged' | 'laneReceive' | 'lanePrevious';
export type Direction = 'send' | 'receive';

/** Views into the table: never keep one beyond the node that asked for it. */
export interface RecordSecret {
  readonly suite: number;
  readonly epoch: number;
  readonly key: Uint8Array;
  readonly iv: Uint8Array;
  readonly number: Uint8Array;
}

/** TLS_AES_128_GCM_SHA256, the one suite with 16-byte keys. */
const AES_128 = 0x1301;

export class SecretTable {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;

  /** @param buffer as `addon.openTable` returns it with exposeSecrets */
  constructor(buffer: ArrayBuffer | SharedArrayBuffer) {
    this.#bytes = new Uint8Array(buffer);
    this.#view = new DataView(buffer);
  }

  /** @returns undefined when that epoch is not installed */
  record(slot: number, direction: Direction, epoch: number): RecordSecret | undefined {
    const at = recordAt(slot, direction, epoch);
    const suite = this.#view.getUint16(at + RECORD.suite, true);
    const installed = this.#view.getUint16(at + RECORD.epoch, true);
    if (suite === 0 || installed === 0 || installed !== epoch) return undefined;
    const keyLength = suite === AES_128 ? 16 : 32;
    return {
      suite,
      epoch,
      key: this.#take(at + RECORD.key, keyLength),
      iv: this.#take(at + RECORD.iv, 12),
      number: this.#take(at + RECORD.number, keyLength),
    };
  }

  installRecord(slot: number, direction: Direction, secret: RecordSecret): void {
    const at = recordAt(slot, direction, secret.epoch);
    this.#bytes.fill(0, at, at + RECORD.size);
    this.#bytes.set(secret.key, at + RECORD.key);
    this.#bytes.set(secret.iv, at + RECORD.iv);
    this.#bytes.set(secret.number, at + RECORD.number);
    this.#view.setUint16(at + RECORD.suite, secret.suite, true);
    this.#view.setUint16(at + RECORD.epoch, secret.epoch, true);
  }

  /** @returns undefined when there is no key */
  laneKey(slot: number, name: LaneName): Uint8Array | undefined {
    const at = laneAt(slot, name);
    return this.#view.getUint32(at + LANE.valid, true) === 1 ? this.#take(at + LANE.key, 32) : undefined;
  }

  /** The first four bytes of every IV under the lane's key. */
  laneSalt(slot: number, name: LaneName): Uint8Array {
    return this.#take(laneAt(slot, name) + LANE.salt, 4);
  }

  /** @param key 32 bytes @param salt 4 bytes */
  installLane(slot: number, name: LaneName, key: Uint8Array, salt: Uint8Array): void {
    const at = laneAt(slot, name);
    this.#bytes.set(key, at + LANE.key);
    this.#bytes.set(salt, at + LANE.salt);
    this.#view.setUint32(at + LANE.valid, 1, true);
  }

  clear(slot: number): void {
    this.#bytes.fill(0, slot * SECRET_SLOT_BYTES, (slot + 1) * SECRET_SLOT_BYTES);
  }

  #take(at: number, length: number): Uint8Array {
    return this.#bytes.subarray(at, at + length);
  }
}

function recordAt(slot: number, direction: Direction, epoch: number): number {
  const first = direction === 'send' ? SECRET_OFFSETS.sendRecord : SECRET_OFFSETS.receiveRecord;
  return slot * SECRET_SLOT_BYTES + first + (epoch & 3) * RECORD.size;
}

function laneAt(slot: number, name: LaneName): number {
  return slot * SECRET_SLOT_BYTES + SECRET_OFFSETS[name];
}
