/**
 * The shards of an engine: one long-lived piscina task each. A shard whose thread dies (an exception, terminate()) is started
 * again with a higher generation, and goes on with the sessions in the table.
 */
import { MessageChannel, type MessagePort, type Worker } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { GENERATIONS_PER_ENGINE, type ShardCommand, type ShardReport, type ShardStatistics } from './host.ts';

/** Deaths of one shard within a minute after which the engine gives up and leaves the matter to its keeper. */
const MAX_DEATHS = 5;
const DEATHS_WITHIN_MS = 60_000;
export interface ShardHandler<Task> {
  /** The task of a shard; `restarts` counts its deaths: add it to the generation. */
  task(shard: number, restarts: number): Task;
  heard(shard: number, report: ShardReport): void;
  /** A shard died; a successor is being started. */
  died(shard: number, error: Error): void;
  gaveUp(shard: number, error: Error): void;
}

export class ShardPool<Task> {
  readonly #pool: Piscina;
  readonly #handler: ShardHandler<Task>;
  readonly #ports: (MessagePort | undefined)[];
  /** Resolved when a shard has said `stopped`, or its task is over, whichever is heard first: they come by different ways. */
  readonly #stopped: ((() => void) | undefined)[] = [];
  readonly #statistics: ((statistics: ShardStatistics | undefined) => void)[][];
  readonly #ready: boolean[] = [];
  readonly #deaths: number[][];
  readonly #restarts: number[];
  readonly #maxDeaths: number;
  #stopping = false;

  /** @param maxDeaths of one shard within a minute, after which its handler hears `gaveUp` */
  constructor(shards: number, handler: ShardHandler<Task>, maxDeaths = MAX_DEATHS) {
    this.#handler = handler;
    this.#maxDeaths = maxDeaths;
    this.#ports = new Array(shards).fill(undefined);
    this.#deaths = Array.from({ length: shards }, () => []);
    this.#statistics = Array.from({ length: shards }, () => []);
    this.#restarts = new Array(shards).fill(0);
    this.#pool = new Piscina({
      filename: new URL('../../workers/shard.ts', import.meta.url).href,
      minThreads: shards,
      maxThreads: shards,
      concurrentTasksPerWorker: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      atomics: 'disabled', // 'sync' would block the thread between tasks, and starve its timers
    });
  }

  /** The shards' threads, in no order. */
  get threads(): readonly Worker[] {
    return this.#pool.threads as Worker[];
  }

  start(): void {
    for (let shard = 0; shard < this.#ports.length; shard++) this.#run(shard);
  }

  send(shard: number, command: ShardCommand): void {
    this.#ports[shard]?.postMessage(command);
  }

  /** @returns what each living shard counts; one that is still loading, or dies before it has answered, is left out */
  async statistics(): Promise<ShardStatistics[]> {
    const answers = await Promise.all(
      this.#ports.flatMap((port, shard) => {
        if (!port || !this.#ready[shard]) return [];
        return new Promise<ShardStatistics | undefined>((resolve) => {
          this.#statistics[shard].push(resolve);
          port.postMessage({ type: 'statistics' } satisfies ShardCommand);
        });
      }),
    );
    return answers.filter((answer) => answer !== undefined);
  }

  /** Ends all shards and their threads: with Goodbye to their sessions, or without a word when a successor takes over. */
  async stop(how: 'stop' | 'yield'): Promise<void> {
    this.#stopping = true;
    const ended = this.#ports.map((port, shard) => {
      if (!port) return undefined;
      port.postMessage({ type: how } satisfies ShardCommand);
      return new Promise<void>((resolve) => {
        this.#stopped[shard] = resolve;
      });
    });
    await Promise.all(ended);
    await this.#pool.destroy();
  }

  #run(shard: number): void {
    const { port1, port2 } = new MessageChannel();
    this.#ports[shard] = port1;
    port1.on('message', (report: ShardReport) => {
      if (report.type === 'stopped') this.#stopped[shard]?.();
      else if (report.type === 'statistics') this.#statistics[shard].shift()?.(report.statistics);
      else {
        if (report.type === 'ready') this.#ready[shard] = true;
        this.#handler.heard(shard, report);
      }
    });
    const task = this.#handler.task(shard, this.#restarts[shard]);
    this.#pool.run({ task, port: port2 }, { transferList: [port2] }).then(
      () => {
        port1.close();
        this.#gone(shard);
        this.#stopped[shard]?.();
      },
      (error: Error) => this.#died(shard, error, port1),
    );
  }

  #gone(shard: number): void {
    this.#ports[shard] = undefined;
    this.#ready[shard] = false;
    for (const answer of this.#statistics[shard].splice(0)) answer(undefined);
  }

  #died(shard: number, error: Error, port: MessagePort): void {
    port.close();
    this.#gone(shard);
    if (this.#stopping) {
      this.#stopped[shard]?.();
      return;
    }
    const now = Date.now();
    this.#deaths[shard] = [...this.#deaths[shard].filter((at) => now - at < DEATHS_WITHIN_MS), now];
    this.#restarts[shard]++;
    if (this.#deaths[shard].length > this.#maxDeaths || this.#restarts[shard] >= GENERATIONS_PER_ENGINE) {
      this.#handler.gaveUp(shard, error);
      return;
    }
    this.#handler.died(shard, error);
    this.#run(shard);
  }
}
