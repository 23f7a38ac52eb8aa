/**
 * A client's servers from the first dial to the end: one of them wins (race.ts), the others are told Goodbye, and the host is changed when they no
 * longer read its packets; who fails gives way to the others, and the last one's error is the client's.
 */
import type { RingwayError } from '../errors.ts';
import type { NetworkConfig } from '../session/types.ts';
import type { Micros } from '../wire/time.ts';
import { endingError } from './endings.ts';
import { Race } from './race.ts';

/** A server that is dialled, or that the session is with. */
export interface Contestant {
  /** Its place in the list. */
  readonly place: number;
  /** For people: `host:port`. */
  readonly name: string;
  /** Ends its shard: with Goodbye to the server, or without a word. Called once. @param over no successor of this engine may go on with its session */
  stop(how: 'stop' | 'yield', over: boolean): Promise<void>;
}

export interface Surroundings {
  readonly now: () => Micros;
  /** @returns cancel */
  readonly after: (ms: number, then: () => void) => () => void;
  readonly warn: (message: string) => void;
  /** The race is over, and all others are gone. At most once. */
  readonly won: (winner: Contestant, networkConfig: NetworkConfig) => void;
  /** Nobody is left, or the session is over. At most once. */
  readonly fatal: (error: RingwayError) => void;
}

export class Contest {
  readonly #around: Surroundings;
  readonly #race: Race;
  /** Those that live. */
  #contestants: readonly Contestant[] = [];
  readonly #networkConfigs = new Map<Contestant, NetworkConfig>();
  readonly #failed = new Set<Contestant>();
  #winner: Contestant | undefined;
  #cancel = () => {};
  #leaving = false;

  /** @param wait `preferred_connection_wait_interval` */
  constructor(servers: number, wait: Micros, around: Surroundings) {
    this.#around = around;
    this.#race = new Race(around.now(), servers, wait);
  }

  /** One that runs. */
  add(contestant: Contestant): void {
    this.#contestants = [...this.#contestants, contestant];
  }

  /** The one whose session an engine before this one had: there is no race, and the host is as it should be. */
  goOn(contestant: Contestant): void {
    this.add(contestant);
    this.#winner = contestant;
  }

  /** Whose figures are shown: the winner's, else those of the first that lives. */
  get shown(): Contestant | undefined {
    return this.#winner ?? this.#contestants[0];
  }

  online(contestant: Contestant, networkConfig: NetworkConfig): void {
    this.#networkConfigs.set(contestant, networkConfig);
    this.#race.online(contestant.place);
    void this.#settle();
  }

  /** Its shard has nothing more to do. @param code, reason as the shard reports them */
  async ended(contestant: Contestant, code: string, reason: string): Promise<void> {
    const isTold = this.#winner !== undefined && this.#winner !== contestant;
    if (this.#leaving || isTold || this.#failed.has(contestant)) return;
    const error = endingError(code, reason, contestant.name);
    this.#failed.add(contestant);
    this.#race.failed(contestant.place);
    const isTheEnd = this.#winner === contestant || this.#race.lost; // before the wait below: another may win meanwhile
    if (!isTheEnd) this.#around.warn(`${error.message} [${error.code}]: others are still being tried`);
    await this.#stop([contestant], 'yield');
    if (isTheEnd) this.#around.fatal(error);
    else await this.#settle();
  }

  /** The engine ends. */
  leave(how: 'stop' | 'yield'): Promise<void> {
    this.#leaving = true;
    this.#cancel();
    return this.#stop(this.#contestants, how);
  }

  async #settle(): Promise<void> {
    if (this.#winner || this.#leaving) return;
    const now = this.#around.now();
    const place = this.#race.winner(now);
    const winner = this.#contestants.find((contestant) => contestant.place === place);
    const networkConfig = winner && this.#networkConfigs.get(winner);
    this.#cancel();
    if (!winner || !networkConfig) {
      const wait = this.#race.nextDeadline(now) - now;
      if (Number.isFinite(wait)) this.#cancel = this.#around.after(Math.ceil(wait / 1_000), () => void this.#settle());
      return;
    }
    this.#winner = winner;
    const others = this.#contestants.filter((contestant) => contestant !== winner);
    await this.#stop(others, 'stop');
    if (!this.#failed.has(winner) && !this.#leaving) this.#around.won(winner, networkConfig);
  }

  async #stop(some: readonly Contestant[], how: 'stop' | 'yield'): Promise<void> {
    this.#contestants = this.#contestants.filter((contestant) => !some.includes(contestant));
    await Promise.all(some.map((each) => each.stop(how, how === 'stop' || this.#failed.has(each))));
  }
}
