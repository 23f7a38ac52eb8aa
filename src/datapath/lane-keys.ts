import type { Addon, LanesHandle } from '../native/index.ts';
import type { LaneKeys } from '../session/types.ts';
import { SlotFlag } from './layout.ts';
import type { SessionTable } from './table.ts';

/** The Expresslane keys of a session, kept in its slot: one object per session, no key in JavaScript. */
export class SlotLaneKeys implements LaneKeys {
  readonly #addon: Addon;
  readonly #lanes: LanesHandle;
  readonly #table: SessionTable;
  readonly #slot: number;

  constructor(addon: Addon, lanes: LanesHandle, table: SessionTable, slot: number) {
    this.#addon = addon;
    this.#lanes = lanes;
    this.#table = table;
    this.#slot = slot;
  }

  stage(): Uint8Array {
    return this.#addon.laneStage(this.#lanes, this.#slot);
  }

  stageNone(): void {
    this.#addon.laneStageNone(this.#lanes, this.#slot);
  }

  staged(): Uint8Array {
    return this.#addon.laneStaged(this.#lanes, this.#slot);
  }

  promote(): void {
    this.#addon.lanePromote(this.#lanes, this.#slot);
  }

  installReceive(key: Uint8Array): void {
    this.#addon.laneInstallReceive(this.#lanes, this.#slot, key);
  }

  receiveKeyIs(key: Uint8Array): boolean {
    return this.#addon.laneReceiveKeyIs(this.#lanes, this.#slot, key);
  }

  sendValid(): boolean {
    return this.#addon.laneSendValid(this.#lanes, this.#slot);
  }

  receiveValid(): boolean {
    return this.#addon.laneReceiveValid(this.#lanes, this.#slot);
  }

  setActive(on: boolean): void {
    this.#flag(SlotFlag.expresslane, on);
  }

  setReady(on: boolean): void {
    this.#flag(SlotFlag.laneReady, on);
  }

  setVersion(version: 1 | 2): void {
    this.#flag(SlotFlag.aadFlags, version === 2);
  }

  packetsSent(): number {
    return this.#table.fields.laneSent.get(this.#slot);
  }

  packetsReceived(): number {
    return this.#table.fields.laneReceived.get(this.#slot);
  }

  #flag(flag: number, on: boolean): void {
    const { flags } = this.#table.fields;
    const now = flags.get(this.#slot);
    flags.set(this.#slot, on ? now | flag : now & ~flag);
  }
}
