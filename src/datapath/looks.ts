/**
 * Which sessions carry packets. What those may make due (new Expresslane keys, new keys after many records) has no deadline, so sessions are looked at
 * again and again; all of them in one walk over the table, which is so much cheaper than a deadline for each that sessions at rest cost nothing.
 */
import { type Micros, SECOND } from '../wire/time.ts';
import type { Peer } from './host.ts';

/** How often each session is looked at. */
const LOOK: Micros = 5 * SECOND;
/** Sessions that one step looks at, 20 to 100 µs: with more of them there are more steps. */
const STEP = 1_024;

export class Looks {
  readonly #peers: ReadonlyMap<number, Peer>;
  #walk: Iterator<Peer> | undefined;
  #at: Micros = 0;

  constructor(peers: ReadonlyMap<number, Peer>) {
    this.#peers = peers;
  }

  /** Undefined when there is nobody to look at. */
  get deadline(): Micros | undefined {
    return this.#peers.size === 0 ? undefined : this.#at;
  }

  /** A step, if one is due. @param stirred is told of each session that packets have passed since it was last advanced */
  look(now: Micros, stirred: (peer: Peer) => void): void {
    if (this.#peers.size === 0 || now < this.#at) return;
    const looked = this.#step(stirred) || this.#step(stirred); // none is left where a step has ended with the last of them
    this.#at = now + (LOOK * Math.min(looked, this.#peers.size)) / this.#peers.size;
  }

  /** @returns how many it has looked at */
  #step(stirred: (peer: Peer) => void): number {
    this.#walk ??= this.#peers.values();
    for (let looked = 0; looked < STEP; looked++) {
      const next = this.#walk.next();
      if (next.done) {
        this.#walk = undefined;
        return looked;
      }
      if (next.value.stirred) stirred(next.value);
    }
    return STEP;
  }
}
