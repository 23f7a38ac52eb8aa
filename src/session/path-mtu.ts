// What size of datagram the path to the server carries (protocol specification §8.4, after RFC 8899): the client sends Pings of growing
// size that no router may fragment, and believes in those that are answered. Clients only; servers answer Pings.

import { type Micros, SECOND } from '../wire/time.ts';

const NEVER = Number.POSITIVE_INFINITY;
const PROBE_TIME = 5 * SECOND;
const RAISE_TIME = 600 * SECOND;
const ATTEMPTS = 3;
const BIG_STEP = 32;
const SMALL_STEP = 8;

/** Frame lengths: kind, header and payload of a Ping, or of a Data frame, inside one record. */
export interface PathMtuConfig {
  /** Where the search begins. */
  readonly base: number;
  /** What the interface towards the server could carry at most. */
  readonly max: number;
}

/** IPv4, UDP and Lightway headers: what is around the DTLS bytes of a datagram. */
const OUTER_HEADERS = 20 + 8 + 16;
/** Those, and DTLS as stock clients reckon it (§8.1). */
const OVERHEAD = OUTER_HEADERS + 37;
const DEFAULT_BASE = 1250;
/** Below this a path carries no handshake either. */
const LEAST = 200;
/** The stock client's own size (§2.6), and the least that the endpoint works with: on a path that carries less, datagrams are fragmented. */
const MOST_HANDSHAKE = 1_400;
const LEAST_HANDSHAKE = 256;

/** @param outsideMtu of the interface towards the server, @param base `pmtud_base_mtu`, null for the usual */
export function pathMtuConfig(outsideMtu: number, base: number | null): PathMtuConfig {
  const max = Math.max(LEAST, outsideMtu - OVERHEAD);
  return { base: Math.min(Math.max(LEAST, base ?? DEFAULT_BASE), max), max };
}

/** @returns DTLS bytes for each datagram of a handshake, of which nobody knows yet what the path carries */
export function handshakeMtu(outsideMtu: number, pathMtu: PathMtuConfig | undefined): number {
  const most = Math.min(MOST_HANDSHAKE, outsideMtu - OUTER_HEADERS, pathMtu?.base ?? MOST_HANDSHAKE);
  return Math.max(LEAST_HANDSHAKE, most);
}

/** Not Online yet · base size not answered yet · not answered at all · looking for more · found. */
type State = 'disabled' | 'base' | 'error' | 'searching' | 'complete';

export interface Probe {
  readonly id: number;
  readonly size: number;
}

export class PathMtu {
  state: State = 'disabled';
  /** When `advance` is to be called next. */
  deadline: Micros = NEVER;
  readonly #config: PathMtuConfig;
  #size = 0;
  #step = BIG_STEP;
  #probed = 0;
  #attempts = 0;
  #id = 0;
  #pending = false;

  constructor(config: PathMtuConfig) {
    this.#config = config;
  }

  /** The longest frame that has been answered, or 0 where nothing is known: full-size packets then leave as they are. */
  get estimate(): number {
    return this.state === 'searching' || this.state === 'complete' ? this.#size : 0;
  }

  /** The session is Online, or its path has changed. @returns the first probe */
  start(now: Micros): Probe {
    this.state = 'base';
    return this.#probe(now, this.#config.base, 0);
  }

  /** A new engine goes on with the session, and knows nothing of the path: the first `advance` begins anew. */
  resume(): void {
    this.state = 'error';
    this.#probed = this.#config.base;
    this.#pending = true;
    this.deadline = 0;
  }

  /** @returns the next probe, if one is to be sent; ids of older probes are ignored */
  pong(now: Micros, id: number): Probe | undefined {
    if (!this.#pending || id !== this.#id) return undefined;
    this.#pending = false;
    if (this.state === 'complete') return this.#search(now, BIG_STEP); // the path still carries it: perhaps more by now
    this.#size = this.#probed;
    if (this.state === 'searching') return this.#search(now, this.#step);
    return this.#search(now, BIG_STEP);
  }

  /** @returns the probe that is due, if one is */
  advance(now: Micros): Probe | undefined {
    if (now < this.deadline) return undefined;
    if (!this.#pending) return this.#probe(now, this.#size, 0); // complete: does it still hold?
    if (this.#attempts < ATTEMPTS || this.state === 'error') return this.#probe(now, this.#probed, this.#attempts);
    switch (this.state) {
      case 'base':
        this.state = 'error';
        return this.#probe(now, this.#config.base, 0);
      case 'searching':
        if (this.#step === BIG_STEP) return this.#search(now, SMALL_STEP);
        this.#complete(now);
        return undefined;
      default: // complete: a black hole
        return this.start(now);
    }
  }

  #search(now: Micros, step: number): Probe | undefined {
    this.#step = step;
    if (this.#size >= this.#config.max) {
      this.#complete(now);
      return undefined;
    }
    this.state = 'searching';
    return this.#probe(now, Math.min(this.#size + step, this.#config.max), 0);
  }

  #complete(now: Micros): void {
    this.state = 'complete';
    this.#pending = false;
    this.deadline = now + RAISE_TIME;
  }

  #probe(now: Micros, size: number, attempts: number): Probe {
    this.#id = (this.#id % 0xffff) + 1; // 0 is the keepalive's
    this.#probed = size;
    this.#attempts = attempts + 1;
    this.#pending = true;
    this.deadline = now + PROBE_TIME;
    return { id: this.#id, size };
  }
}
