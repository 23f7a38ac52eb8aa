/**
 * Keeps one engine alive. A crash and an upgrade are the same path: the next engine gets the same descriptors and the next
 * generation, and finds the sessions where the last one left them.
 *
 *     run ──▶ engine ──exit──▶ next engine (at once, then slower; five deaths in ten seconds end it)
 *                └─ reload ──▶ the successor loads its code beside it, then it yields, then the successor starts
 *                └─ stop ────▶ Goodbye to all, exit 0
 */
import { RingwayError } from '../errors.ts';
import type { EngineStatistics } from '../observe/statistics.ts';
import type { EngineProcess, Exit, Launch } from './engine-process.ts';
import { type EngineMessage, type EngineStart, KEEPER_PROTOCOL } from './protocol.ts';

/** How often and how fast an engine may die before the keeper stops believing in it. */
const MOST_DEATHS = 5;
const DEATHS_WITHIN_MS = 10_000;
/** Wait before the next engine, by deaths within that time. */
const BACK_OFF_MS = [0, 50, 200, 500];
const STOP_WITHIN_MS = 400; // stock: 200 ms for Goodbye and close_notify (protocol specification §11.6); exit is due after 500
const YIELD_WITHIN_MS = 1_000;
/** An engine under full load answers within milliseconds; an operator should not wait longer for one that hangs. */
const STATISTICS_WITHIN_MS = 2_000;

export interface Ending {
  readonly exitCode: number;
  /** Why, where that is not a wish. */
  readonly error?: RingwayError;
}

/** Makes the start message for a generation. Another one after each reload. */
export type Start = (generation: number, restart: boolean) => EngineStart;

export interface Surroundings {
  readonly launch: Launch;
  /** Requests that are the role's to answer: `ready`, `clientOnline`. */
  readonly heard: (message: EngineMessage) => void;
  readonly log: { info(fields: object, message: string): void; warn(fields: object, message: string): void };
  /** Milliseconds, monotonic. */
  readonly now: () => number;
  /** @returns cancel */
  readonly after: (ms: number, then: () => void) => () => void;
}

interface Engine {
  readonly process: EngineProcess;
  generation: number;
  readonly hello: Promise<void>;
  readonly ready: Promise<void>;
}

export class Supervisor {
  readonly #around: Surroundings;
  #start: Start;
  #current: Engine | undefined;
  #standby: Engine | undefined;
  #generation = 0;
  #deaths: number[] = [];
  #deathsInAll = 0;
  #stopping = false;
  #reloading = false;
  #fatal: RingwayError | undefined;
  readonly #asked = new Map<number, { engine: Engine; answer: (statistics: EngineStatistics | null) => void }>();
  #nextQuestion = 1;
  #cancelRespawn: (() => void) | undefined;
  #end: (ending: Ending) => void = () => {};
  readonly #ended: Promise<Ending>;

  constructor(start: Start, around: Surroundings) {
    this.#start = start;
    this.#around = around;
    this.#ended = new Promise((resolve) => {
      this.#end = resolve;
    });
  }

  // ---- what an operator sees ------------------------------------------------------------------------------------

  get engine(): { readonly pid: number | undefined; readonly generation: number; readonly deaths: number } {
    return { pid: this.#current?.process.pid, generation: this.#generation, deaths: this.#deathsInAll };
  }

  /** @returns what the engine counts, or null: there is none, it died, or it was silent for 2 s. Never throws */
  statistics(): Promise<EngineStatistics | null> {
    const engine = this.#current;
    if (!engine || engine.generation === 0) return Promise.resolve(null);
    const id = this.#nextQuestion++;
    return new Promise((resolve) => {
      const answer = (statistics: EngineStatistics | null) => {
        if (!this.#asked.delete(id)) return;
        cancel();
        resolve(statistics);
      };
      const cancel = this.#around.after(STATISTICS_WITHIN_MS, () => answer(null));
      this.#asked.set(id, { engine, answer });
      engine.process.send({ type: 'statistics', id });
    });
  }

  // ---- commands -------------------------------------------------------------------------------------------------

  /** Starts the first engine. @returns when there is none any more, and none will follow */
  run(): Promise<Ending> {
    this.#respawn();
    return this.#ended;
  }

  /** Asks for Goodbyes and ends, with exit code 0. A second call ends at once. */
  stop(): void {
    const again = this.#stopping;
    this.#stopping = true;
    this.#cancelRespawn?.();
    this.#standby?.process.kill();
    const engine = this.#current;
    if (!engine) {
      if (!this.#reloading) this.#over({ exitCode: 0 }); // else the reload sees it
    } else if (again || engine.generation === 0) engine.process.kill();
    else {
      engine.process.send({ type: 'stop' });
      const cancel = this.#around.after(STOP_WITHIN_MS, () => engine.process.kill());
      void engine.process.exited.then(cancel);
    }
  }

  /**
   * Replaces the engine. The old one goes on until the successor's code is loaded.
   * @throws RingwayError RELOAD_BUSY; RELOAD_FAILED: the old engine goes on if the new one never started, else another was started
   */
  async reload(start: Start): Promise<void> {
    if (this.#reloading || this.#stopping) {
      throw new RingwayError('RELOAD_BUSY', 'a reload or a stop is under way', 'try again in a second');
    }
    this.#reloading = true;
    this.#cancelRespawn?.();
    try {
      const successor = this.#launch();
      this.#standby = successor;
      if ((await first(successor.hello, successor.process.exited)) !== 'done') {
        throw reloadFailed(await successor.process.exited, 'the old engine goes on');
      }
      await this.#retire();
      if (this.#stopping) return successor.process.kill();
      this.#start = start;
      this.#standby = undefined;
      this.#current = successor;
      this.#begin(successor);
      if ((await first(successor.ready, successor.process.exited)) !== 'done' && !this.#stopping) {
        throw reloadFailed(await successor.process.exited, 'another was started');
      }
    } finally {
      this.#reloading = false;
      this.#standby = undefined;
      if (!this.#current && this.#stopping) this.#over({ exitCode: 0 });
      else if (!this.#current) this.#respawn();
    }
  }

  // ---- one engine after the other -------------------------------------------------------------------------------

  #launch(): Engine {
    const [hello, saidHello] = signal();
    const [ready, saidReady] = signal();
    const engine: Engine = {
      generation: 0,
      hello,
      ready,
      process: this.#around.launch((message) => {
        if (message.type === 'hello')
          return message.version === KEEPER_PROTOCOL ? saidHello() : this.#mismatch(engine, message.version);
        if (message.type === 'ready') saidReady();
        if (message.type === 'statistics') return this.#asked.get(message.id)?.answer(message.statistics);
        if (message.type === 'fatal') return this.#condemn(engine, message);
        this.#around.heard(message);
      }),
    };
    void engine.process.exited.then((exit) => this.#exited(engine, exit));
    return engine;
  }

  #respawn(): void {
    this.#cancelRespawn = undefined;
    const engine = this.#launch();
    this.#current = engine;
    void engine.hello.then(() => {
      if (this.#current === engine && !this.#stopping) this.#begin(engine);
    });
  }

  #begin(engine: Engine): void {
    engine.generation = ++this.#generation;
    engine.process.send(this.#start(this.#generation, this.#generation > 1));
    this.#around.log.info({ generation: this.#generation, pid: engine.process.pid }, 'engine started');
  }

  /** Ends the current engine in favour of a successor. */
  async #retire(): Promise<void> {
    const old = this.#current;
    this.#cancelRespawn?.();
    this.#current = undefined;
    if (!old) return;
    old.process.send({ type: 'yield' });
    const cancel = this.#around.after(YIELD_WITHIN_MS, () => old.process.kill());
    await old.process.exited;
    cancel();
  }

  #exited(engine: Engine, exit: Exit): void {
    for (const asked of this.#asked.values()) if (asked.engine === engine) asked.answer(null);
    if (engine !== this.#current) return; // yielded, or a successor that never started
    this.#current = undefined;
    if (this.#fatal) this.#over({ exitCode: 1, error: this.#fatal });
    else if (this.#stopping) this.#over({ exitCode: 0 });
    else this.#died(engine, exit);
  }

  #died(engine: Engine, exit: Exit): void {
    const now = this.#around.now();
    this.#deathsInAll++;
    this.#deaths = [...this.#deaths.filter((death) => now - death < DEATHS_WITHIN_MS), now];
    const count = this.#deaths.length;
    const cause = causeOf(exit);
    this.#around.log.warn({ generation: engine.generation, cause, deaths: count }, 'engine died');
    if (count >= MOST_DEATHS) {
      const message = `the engine died ${count} times within ${DEATHS_WITHIN_MS / 1000} s, the last time by ${cause}`;
      const advice = 'its last words are above; report them, or go back to the version before';
      this.#over({ exitCode: 1, error: new RingwayError('ENGINE_DIES', message, advice) });
    } else if (!this.#reloading) {
      // During a reload the successor takes over.
      const wait = BACK_OFF_MS[count - 1];
      if (wait === 0) this.#respawn();
      else this.#cancelRespawn = this.#around.after(wait, () => this.#respawn());
    }
  }

  #over(ending: Ending): void {
    this.#stopping = true;
    this.#standby?.process.kill();
    this.#end(ending);
  }

  /** No engine would fare better: print why, undo everything, exit 1. Of a successor it only ends the reload. */
  #condemn(engine: Engine, verdict: { code: string; message: string; advice: string }): void {
    // A build under way, or sources that have moved on, end nothing that runs: the engine is tried again like one that died.
    const mayPass = engine.generation > 1 && verdict.code.startsWith('ADDON_');
    if (engine === this.#current && !this.#stopping && !mayPass) {
      this.#fatal ??= new RingwayError(verdict.code, verdict.message, verdict.advice);
    } else this.#around.log.warn({ code: verdict.code, advice: verdict.advice }, verdict.message);
    const cancel = this.#around.after(STOP_WITHIN_MS, () => engine.process.kill());
    void engine.process.exited.then(cancel);
  }

  #mismatch(engine: Engine, version: number): void {
    this.#condemn(engine, {
      code: 'ENGINE_VERSION',
      message: `the engine speaks version ${version} of the keeper's protocol, the keeper ${KEEPER_PROTOCOL}`,
      advice: 'stop this instance and start it again: the keeper itself has to be replaced',
    });
    engine.process.kill();
  }
}

function causeOf({ code, signal, refused }: Exit): string {
  return refused ?? signal ?? `exit code ${code}`;
}

function reloadFailed(exit: Exit, then: string): RingwayError {
  return new RingwayError(
    'RELOAD_FAILED',
    `the new engine ended by ${causeOf(exit)}: ${then}`,
    'its last words are in the log of the keeper',
  );
}

function signal(): [Promise<void>, () => void] {
  let done = () => {};
  return [
    new Promise<void>((resolve) => {
      done = resolve;
    }),
    () => done(),
  ];
}

async function first(wish: Promise<void>, exit: Promise<Exit>): Promise<'done' | 'exited'> {
  return Promise.race([wish.then(() => 'done' as const), exit.then(() => 'exited' as const)]);
}
