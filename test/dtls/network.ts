/** A seeded network between two endpoints in one process, on virtual time: loses, reorders, duplicates, delays, corrupts. */
import { type Credentials, runTask } from '../../src/crypto/tasks.ts';
import type { Endpoint, Output } from '../../src/dtls/events.ts';
import type { Micros, Random } from '../../src/wire/time.ts';
import { MS } from '../../src/wire/time.ts';

/** mulberry32: 32 bits of state are plenty for a test, and a failing seed is one number. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function seededBytes(seed: number): Random {
  const next = seeded(seed);
  return (length) => Uint8Array.from({ length }, () => Math.floor(next() * 256));
}

export interface Conditions {
  readonly loss: number;
  readonly duplicate: number;
  /** Of everything that `a` sends, back to back; stock clients send three (protocol specification §1.6). */
  readonly copies?: number;
  /** One bit of a datagram, only if it is protected: a hello that arrives changed must end the handshake. */
  readonly corrupt: number;
  /** Each way, uniform between the two: any spread reorders. */
  readonly delay: readonly [Micros, Micros];
  /** How long a task takes. */
  readonly taskTime: Micros;
}

export const PERFECT: Conditions = { loss: 0, duplicate: 0, corrupt: 0, delay: [5 * MS, 5 * MS], taskTime: 0 };

interface Event {
  readonly at: Micros;
  readonly order: number;
  readonly act: () => void;
}

export interface Party {
  /** Undefined until its first datagram makes it (a server). */
  endpoint: Endpoint | undefined;
  readonly credentials: Credentials;
  readonly outputs: Output[];
  /** Datagrams while there is no endpoint. */
  readonly unbound?: (now: Micros, datagram: Uint8Array) => Uint8Array | undefined;
}

export class Network {
  now: Micros = 0;
  conditions: Conditions;
  /** Everything that was sent, before its fate. */
  readonly wire: Array<{ at: Micros; from: 'a' | 'b'; bytes: Uint8Array }> = [];
  readonly a: Party;
  readonly b: Party;
  readonly #random: () => number;
  #events: Event[] = [];
  #order = 0;

  constructor(a: Party, b: Party, conditions: Conditions, seed: number) {
    this.a = a;
    this.b = b;
    this.conditions = conditions;
    this.#random = seeded(seed);
  }

  /** Carries out what the parties have to say, then jumps from event to event until nothing is due before `until`. */
  run(until: Micros, done: () => boolean = () => false): void {
    for (;;) {
      this.#collect();
      if (done()) return;
      const next = this.#nextEvent();
      const deadline = Math.min(
        this.a.endpoint?.nextDeadline() ?? Infinity,
        this.b.endpoint?.nextDeadline() ?? Infinity,
      );
      const at = Math.min(next?.at ?? Infinity, deadline);
      if (at > until) {
        this.now = Math.max(this.now, until);
        return;
      }
      this.now = Math.max(this.now, at);
      if (next !== undefined && next.at <= deadline) {
        this.#events.splice(this.#events.indexOf(next), 1);
        next.act();
      } else {
        this.a.endpoint?.advance(this.now);
        this.b.endpoint?.advance(this.now);
      }
    }
  }

  #nextEvent(): Event | undefined {
    let first: Event | undefined;
    for (const event of this.#events) {
      if (first === undefined || event.at < first.at || (event.at === first.at && event.order < first.order))
        first = event;
    }
    return first;
  }

  #collect(): void {
    for (const [from, to, name] of [[this.a, this.b, 'a'] as const, [this.b, this.a, 'b'] as const]) {
      for (const output of from.endpoint?.drain() ?? []) {
        if (output.kind === 'datagram') this.#carry(name, to, output.bytes);
        else if (output.kind === 'task') this.#schedule(this.conditions.taskTime, () => this.#work(from, output));
        else from.outputs.push(output);
      }
    }
  }

  #work(party: Party, { id, task }: Output & { kind: 'task' }): void {
    const { endpoint } = party;
    endpoint?.complete(this.now, id, runTask(task, party.credentials));
  }

  #carry(from: 'a' | 'b', to: Party, bytes: Uint8Array): void {
    this.wire.push({ at: this.now, from, bytes });
    const { loss, duplicate, corrupt, delay } = this.conditions;
    const doubled = this.#random() < duplicate ? 2 : 1;
    const copies = from === 'a' ? doubled * (this.conditions.copies ?? 1) : doubled;
    for (let i = 0; i < copies; i++) {
      if (this.#random() < loss) continue;
      const copy = bytes.slice();
      const isProtected = (copy[0] & 0xe0) === 0x20;
      if (isProtected && this.#random() < corrupt)
        copy[Math.floor(this.#random() * copy.length)] ^= 1 << Math.floor(this.#random() * 8);
      const wait = delay[0] + this.#random() * (delay[1] - delay[0]);
      this.#schedule(wait, () => this.#arrive(to, copy));
    }
  }

  #arrive(to: Party, bytes: Uint8Array): void {
    to.endpoint?.receive(this.now, bytes);
    if (to.endpoint !== undefined) return;
    const reply = to.unbound?.(this.now, bytes);
    if (reply !== undefined) this.#carry(to === this.a ? 'a' : 'b', to === this.a ? this.b : this.a, reply);
  }

  #schedule(wait: Micros, act: () => void): void {
    this.#events.push({ at: this.now + wait, order: this.#order++, act });
  }
}
