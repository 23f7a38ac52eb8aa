/**
 * Which of the servers dialled at once the client stays with (protocol specification §5.2, parallel connect): the first of the list as soon as it
 * is online; another one that is online when the first has been waited for long enough, or when no server before it can come any more.
 */
import type { Micros } from '../wire/time.ts';

type Runner = 'dialling' | 'online' | 'failed';

export class Race {
  readonly #runners: Runner[];
  readonly #until: Micros;

  /** @param wait `preferred_connection_wait_interval` */
  constructor(now: Micros, servers: number, wait: Micros) {
    this.#runners = new Array(servers).fill('dialling');
    this.#until = now + wait;
  }

  online(server: number): void {
    this.#runners[server] = 'online';
  }

  /** Also of one that was online and has ended before the race was over. */
  failed(server: number): void {
    this.#runners[server] = 'failed';
  }

  /** @returns its place in the list; undefined: nobody yet */
  winner(now: Micros): number | undefined {
    const first = this.#runners.findIndex(
      (runner) => runner === 'online' || (runner === 'dialling' && now < this.#until),
    );
    return this.#runners[first] === 'online' ? first : undefined;
  }

  /** When winner() may change although nothing happened. */
  nextDeadline(now: Micros): Micros {
    return now < this.#until && this.#runners.includes('online') ? this.#until : Number.POSITIVE_INFINITY;
  }

  get lost(): boolean {
    return this.#runners.every((runner) => runner === 'failed');
  }
}
