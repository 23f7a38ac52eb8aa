/**
 * What sessions that begin have to hear, in order of arrival: handshake datagrams, answers of the crypto pool and of the engine. Each takes up to
 * half a millisecond, and they come by the dozen after a pass of the event loop; so a turn does only some of it, and packets pass in between.
 */
import type { Micros } from '../wire/time.ts';

export type Job = (now: Micros) => void;

export class Backlog {
  #jobs: Job[] = [];
  #done = 0;

  get size(): number {
    return this.#jobs.length - this.#done;
  }

  add(job: Job): void {
    this.#jobs.push(job);
  }

  /** Does one, and then others until `until` by the clock. @param now what they are told the time is */
  run(now: Micros, until: Micros, clock: () => Micros): void {
    while (this.#done < this.#jobs.length) {
      this.#jobs[this.#done++](now);
      if (clock() >= until) break;
    }
    if (this.#done === this.#jobs.length) this.#jobs = [];
    else if (this.#done > this.#jobs.length / 2) this.#jobs = this.#jobs.slice(this.#done);
    else return;
    this.#done = 0;
  }
}
