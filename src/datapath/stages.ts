/**
 * What each stage of a shard's pipelines did: calls, entries, time, drops. Counting costs a few additions a vector and allocates
 * nothing; only `statistics` does, when somebody asks.
 */
import type { StageStatistics } from '../observe/statistics.ts';
import type { Micros } from '../wire/time.ts';
import { FIRST_DROP, VERDICTS } from './batch.ts';

/**
 * One turn in so many is timed, node by node; and one in so many passes of the addon, by the addon (native/pass/stages.h), so that turns of either kind weigh
 * what they are. Reads of the clock, up to twelve, are 0.3 µs; in a turn that JavaScript takes, 2 µs. A prime, so that no rhythm of the traffic (a
 * superpacket every other turn, or up and down by turns) keeps step with it.
 */
export const TIMED_EVERY = 61;

/** For `count`: the call was not timed. */
export const UNTIMED: Micros = -1;

function stageBytes(stages: number): number {
  return stages * (4 + VERDICTS.length) * Float64Array.BYTES_PER_ELEMENT + (VERDICTS.length + 1) * 4;
}

export class StageCounters {
  /** This turn's calls are to be timed, but for passes. */
  timing = false;
  readonly #names: readonly string[];
  readonly #vectors: Float64Array;
  readonly #entries: Float64Array;
  readonly #timedEntries: Float64Array;
  readonly #timedMicros: Float64Array;
  /** Stage by verdict. */
  readonly #drops: Float64Array;
  /** Low and high words of the nodes' counters, by turns: reading them as 64 bits would allocate. */
  readonly #words: Uint32Array;
  /** What they were at the last call, and behind that their sum. */
  readonly #seen: Uint32Array;
  #untilTimed = TIMED_EVERY;

  /** @param verdicts the nodes' counter of each verdict @param memory where a pass counts too (native/pass/stages.h has the same layout) */
  constructor(names: readonly string[], verdicts: BigUint64Array, memory = new ArrayBuffer(stageBytes(names.length))) {
    if (memory.byteLength !== stageBytes(names.length))
      throw new Error(`${names.length} stages take ${stageBytes(names.length)} bytes, not ${memory.byteLength}`);
    let at = 0;
    const numbers = (length: number) => {
      const array = new Float64Array(memory, at, length);
      at += array.byteLength;
      return array;
    };
    this.#names = names;
    this.#vectors = numbers(names.length);
    this.#entries = numbers(names.length);
    this.#timedEntries = numbers(names.length);
    this.#timedMicros = numbers(names.length);
    this.#drops = numbers(names.length * VERDICTS.length);
    this.#seen = new Uint32Array(memory, at, VERDICTS.length + 1);
    this.#words = new Uint32Array(verdicts.buffer, verdicts.byteOffset, verdicts.length * 2);
  }

  /** A turn begins: is it one of those that are timed? */
  turn(): void {
    this.timing = --this.#untilTimed === 0;
    if (this.timing) this.#untilTimed = TIMED_EVERY;
  }

  /** A stage has worked on a vector, or found it empty. Drops since the last call are its own. @param micros what it took, or UNTIMED */
  count(stage: number, entries: number, micros: Micros): void {
    if (entries > 0) this.#vectors[stage]++;
    this.#entries[stage] += entries;
    if (micros >= 0) {
      this.#timedEntries[stage] += entries;
      this.#timedMicros[stage] += micros;
    }
    const words = this.#words;
    let sum = 0; // 32 bits that wrap: only whether it changes matters
    for (let at = 2 * FIRST_DROP; at < words.length; at += 2) sum = (sum + words[at]) | 0;
    if (sum >>> 0 !== this.#seen[VERDICTS.length]) this.#attribute(stage, sum);
  }

  statistics(): StageStatistics[] {
    return this.#names.map((stage, i) => {
      const drops: Record<string, number> = {};
      VERDICTS.forEach((name, verdict) => {
        const times = this.#drops[i * VERDICTS.length + verdict];
        if (times > 0) drops[name] = times;
      });
      return {
        stage,
        vectors: this.#vectors[i],
        entries: this.#entries[i],
        timedEntries: this.#timedEntries[i],
        timedMicros: this.#timedMicros[i],
        drops,
      };
    });
  }

  #attribute(stage: number, sum: number): void {
    this.#seen[VERDICTS.length] = sum; // modulo 2^32
    for (let verdict = FIRST_DROP; verdict < VERDICTS.length; verdict++) {
      const low = this.#words[2 * verdict];
      this.#drops[stage * VERDICTS.length + verdict] += (low - this.#seen[verdict]) >>> 0; // it wraps at 2³²
      this.#seen[verdict] = low;
    }
  }
}
