// The exchange of Expresslane keys, their rotation, and the judgement whether Expresslane packets arrive at all (protocol specification
// §6.1 to §6.4 and §6.9). Each side makes the key it sends with, has the peer install it, and uses it once the peer has said so.
//
//   client                               server
//     config(counter 1, Kc) ──────────▶    receive key = Kc
//     send key = Kc  ◀──────────────────   ack(1, Kc)
//     receive key = Ks, Active  ◀───────   config(counter 1, Ks)
//     ack(1, Ks) ─────────────────────▶    send key = Ks, Active

import {
  decodeStatistics,
  EXPRESSLANE_VERSION,
  type ExpresslaneConfig,
  encodeStatistics,
} from '../wire/expresslane.ts';
import { encodeFrame } from '../wire/frames.ts';
import { type Micros, MS } from '../wire/time.ts';
import type { Counters, LaneConfig, LaneKeys } from './types.ts';

export const LaneState = { disabled: 0, waitingForClient: 1, inactive: 2, active: 3, degraded: 4 } as const;

const REPEAT_WAIT = 500 * MS; // × (1 + repeats so far): configs leave at 0, 0.5, 1.5, 3, 5 and 7.5 s
const MAX_REPEATS = 5; // given up at 10.5 s
const MAX_MISSING = 3; // Pongs in a row without statistics
const MAX_STRIKES = 3;
const MIN_JUDGED = 10; // packets sent between two Pongs; fewer prove nothing
const MAX_LOSS = 0.5;
const NEVER = Number.POSITIVE_INFINITY;
const EMPTY_STATISTICS = new Uint8Array(0);

/** What the exchange needs of the session around it. */
export type LaneOutlet = {
  readonly counters: Counters;
  /** Takes a frame; `secret` if there is a key in it. */
  sendFrame(bytes: Uint8Array, secret: boolean): void;
};

export class Expresslane {
  readonly keys: LaneKeys;
  readonly config: LaneConfig;
  state: number;
  /** Of the latest config of our own; the first one has 1. */
  counter = 0;
  /** Of the latest config of the peer. */
  peerCounter = 0n;
  /** Agreed version, 0 before any config has come. */
  version = 0;
  /** Version written into the outstanding config, which is repeated as it was. */
  sentVersion: number = EXPRESSLANE_VERSION;
  /** There is a staged key the peer may have installed, acknowledged or not. */
  staged = false;
  /** When the outstanding config is repeated; NEVER when none is outstanding. */
  deadline: Micros = NEVER;
  repeats = 0;
  lastRotation: Micros = Number.NEGATIVE_INFINITY;
  /**
   * A config was repeated and not yet acknowledged, so the peer may have installed its key twice: a stock peer has then forgotten the
   * key we still send with (§6.4). Packets go through DTLS until the ack.
   */
  doubtful = false;
  /** The peer has said it will not take part; it would never acknowledge another config (§6.4). */
  refused = false;
  missing = 0;
  inboundStrikes = 0;
  outboundStrikes = 0;
  // Statistics at the previous Pong: the peer's, and ours.
  peerSent = 0;
  peerReceived = 0;
  sent = 0;
  received = 0;
  #active = false;
  #ready = false;

  constructor(keys: LaneKeys, config: LaneConfig, role: 'client' | 'server') {
    this.keys = keys;
    this.config = config;
    this.state = LaneState.disabled;
    if (config.enabled) this.state = role === 'server' ? LaneState.waitingForClient : LaneState.inactive;
  }

  /** Both directions have keys. */
  get ready(): boolean {
    return this.state === LaneState.active && this.keys.sendValid() && this.keys.receiveValid();
  }

  /** @returns the payload of a Ping, or of a Pong with id 0 */
  statistics(): Uint8Array {
    if (!this.ready) return EMPTY_STATISTICS;
    return encodeStatistics(this.keys.packetsSent(), this.keys.packetsReceived());
  }

  /** Sends a new key if it is time to. Called on entering Online, after each config of the peer, and when an inner packet leaves. */
  rotate(now: Micros, to: LaneOutlet): void {
    if (this.state !== LaneState.inactive && this.state !== LaneState.active) return;
    // While a config is outstanding a further key would push the one we send with out of the peer's two.
    if (this.refused || this.deadline !== NEVER || now - this.lastRotation <= this.config.rotationInterval) return;
    this.lastRotation = now;
    this.#offer(now, this.keys.stage(), to);
  }

  receive(now: Micros, frame: ExpresslaneConfig, to: LaneOutlet): void {
    this.#agree(frame.version, to.counters);
    if (frame.ack) {
      this.#acknowledged(now, frame, to.counters);
      return;
    }
    if (this.state === LaneState.degraded) {
      to.counters.configWhileDegraded++;
      return;
    }
    if (frame.counter < this.peerCounter) {
      to.counters.staleConfig++; // reordered: its key has been replaced since
      return;
    }
    if (frame.enabled && isEmpty(frame.key)) {
      to.counters.emptyKey++;
      return;
    }
    this.peerCounter = frame.counter;
    if (frame.enabled) this.#install(frame.key, to.counters);
    else this.#refuse();
    to.sendFrame(encodeFrame({ ...frame, ack: true, version: this.version }), true);
    this.rotate(now, to);
  }

  /** Repeats the outstanding config, or gives it up. @returns whether something was due */
  advance(now: Micros, to: LaneOutlet): boolean {
    if (now < this.deadline) return false;
    if (this.repeats >= MAX_REPEATS) {
      this.deadline = NEVER;
      this.lastRotation = Number.NEGATIVE_INFINITY; // the next inner packet begins again
      if (this.state !== LaneState.degraded) this.state = LaneState.inactive;
    } else {
      this.repeats++;
      this.doubtful = true;
      this.deadline = now + REPEAT_WAIT * (1 + this.repeats);
      this.#send(this.keys.staged(), to);
    }
    this.#apply();
    return true;
  }

  /** Judges both directions by the statistics in a Pong, and gives Expresslane up when packets keep vanishing. */
  judge(now: Micros, payload: Uint8Array, to: LaneOutlet): void {
    if (!this.ready) return;
    const theirs = decodeStatistics(payload);
    if (theirs === undefined) {
      this.missing++;
      if (this.missing >= MAX_MISSING) this.#degrade(now, to);
      return;
    }
    this.missing = 0;
    const sent = this.keys.packetsSent();
    const received = this.keys.packetsReceived();
    const inbound = isLossy(theirs.sent - this.peerSent, received - this.received);
    const outbound = isLossy(sent - this.sent, theirs.received - this.peerReceived);
    this.peerSent = theirs.sent;
    this.peerReceived = theirs.received;
    this.sent = sent;
    this.received = received;
    this.inboundStrikes = Math.max(0, this.inboundStrikes + (inbound ? 1 : -1));
    this.outboundStrikes = Math.max(0, this.outboundStrikes + (outbound ? 1 : -1));
    if (this.inboundStrikes >= MAX_STRIKES || this.outboundStrikes >= MAX_STRIKES) this.#degrade(now, to);
  }

  /** Tells the bulk path where packets go. Also called after a restore, when nobody remembers. */
  resume(): void {
    this.#ready = this.ready;
    this.#active = this.#ready && !this.doubtful;
    if (this.version === 1 || this.version === 2) this.keys.setVersion(this.version);
    this.keys.setReady(this.#ready);
    this.keys.setActive(this.#active);
  }

  /** The session ends. */
  stop(): void {
    this.deadline = NEVER;
    this.#active = false;
    this.keys.setActive(false);
  }

  // Both sides keep to the lower version; it may not change once packets are out whose tags depend on it (§6.3).
  #agree(peer: number, counters: Counters): void {
    const agreed = peer === 1 ? 1 : EXPRESSLANE_VERSION;
    if (agreed === this.version) return;
    if (this.keys.packetsSent() > 0) {
      counters.versionLocked++;
      return;
    }
    this.version = agreed;
    this.keys.setVersion(agreed);
  }

  #acknowledged(now: Micros, frame: ExpresslaneConfig, counters: Counters): void {
    if (!this.staged || frame.counter !== BigInt(this.counter)) {
      counters.lateAck++;
      return;
    }
    this.keys.promote();
    this.staged = false;
    this.deadline = NEVER;
    this.repeats = 0;
    this.doubtful = false;
    if (this.lastRotation < 0) this.lastRotation = now; // the ack came after we had given up
    this.#activate();
  }

  #install(key: Uint8Array, counters: Counters): void {
    if (this.state === LaneState.waitingForClient) this.state = LaneState.inactive;
    if (this.keys.receiveKeyIs(key)) {
      counters.repeatedConfig++; // installing it again would push the previous key out
    } else {
      this.keys.installReceive(key);
    }
    this.#activate();
  }

  #refuse(): void {
    this.refused = true;
    if (this.state !== LaneState.disabled) this.state = LaneState.inactive;
    this.#apply();
  }

  #activate(): void {
    const exchanging = this.state === LaneState.inactive && !this.refused;
    if (exchanging && this.keys.sendValid() && this.keys.receiveValid()) this.state = LaneState.active;
    this.#apply();
  }

  #degrade(now: Micros, to: LaneOutlet): void {
    this.state = LaneState.degraded;
    this.keys.stageNone();
    this.#apply();
    this.#offer(now, this.keys.staged(), to);
  }

  #offer(now: Micros, key: Uint8Array, to: LaneOutlet): void {
    this.counter++;
    this.staged = true;
    this.repeats = 0;
    this.sentVersion = this.version === 0 ? EXPRESSLANE_VERSION : this.version;
    this.deadline = now + REPEAT_WAIT;
    this.#send(key, to);
  }

  #send(key: Uint8Array, to: LaneOutlet): void {
    const enabled = this.state !== LaneState.degraded;
    const counter = BigInt(this.counter);
    const version = this.sentVersion;
    to.sendFrame(encodeFrame({ kind: 'expresslaneConfig', version, enabled, ack: false, counter, key }), true);
    key.fill(0);
  }

  #apply(): void {
    const { ready } = this;
    if (ready !== this.#ready) {
      this.#ready = ready;
      this.keys.setReady(ready);
    }
    const active = ready && !this.doubtful;
    if (active === this.#active) return;
    this.#active = active;
    this.keys.setActive(active);
  }
}

function isLossy(sent: number, received: number): boolean {
  return sent >= MIN_JUDGED && (sent - Math.max(0, received)) / sent > MAX_LOSS;
}

function isEmpty(key: Uint8Array): boolean {
  let bits = 0;
  for (const byte of key) bits |= byte;
  return bits === 0;
}
