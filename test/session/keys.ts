// The Expresslane keys of a session in plain memory: what a slot holds in the product, with the same meaning.

import { timingSafeEqual } from 'node:crypto';

import type { LaneKeys } from '../../src/session/types.ts';
import type { Random } from '../../src/wire/time.ts';

const NONE = new Uint8Array(32);

export class MemoryKeys implements LaneKeys {
  send: Uint8Array = NONE;
  next: Uint8Array = NONE;
  current: Uint8Array = NONE;
  previous: Uint8Array = NONE;
  active = false;
  ready = false;
  version = 2;
  sent = 0;
  received = 0;
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  stage(): Uint8Array {
    this.next = this.#random(32);
    return this.next.slice();
  }

  stageNone(): void {
    this.next = NONE;
  }

  staged(): Uint8Array {
    return this.next.slice();
  }

  promote(): void {
    this.send = this.next;
  }

  installReceive(key: Uint8Array): void {
    this.previous = this.current;
    this.current = key.slice();
  }

  receiveKeyIs(key: Uint8Array): boolean {
    return timingSafeEqual(key, this.current);
  }

  sendValid(): boolean {
    return this.send.some((byte) => byte !== 0);
  }

  receiveValid(): boolean {
    return this.current.some((byte) => byte !== 0);
  }

  setActive(on: boolean): void {
    this.active = on;
  }

  setReady(on: boolean): void {
    this.ready = on;
  }

  setVersion(version: 1 | 2): void {
    this.version = version;
  }

  packetsSent(): number {
    return this.sent;
  }

  packetsReceived(): number {
    return this.received;
  }

  /** Whether a packet sealed with this key opens here. */
  opens(key: Uint8Array): boolean {
    return [this.current, this.previous].some((own) => own.some((byte) => byte !== 0) && timingSafeEqual(own, key));
  }

  /** Another engine's view of the same slot. */
  clone(random: Random): MemoryKeys {
    const copy = new MemoryKeys(random);
    return Object.assign(copy, { ...this });
  }
}
