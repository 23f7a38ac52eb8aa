/** The loader threads of a run and their crypto pool, as the main thread sees them: one set of clients. */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { createCryptoPool } from '../datapath/crypto-pool.ts';
import { addBuckets, noBuckets } from './buckets.ts';
import type { LoaderCommand, LoaderReport, LoaderTask, TrafficTimes } from './loader.ts';
import { addTotals, noTotals, type Snapshot } from './traffic.ts';

type Tick = Extract<LoaderReport, { type: 'tick' }>;
type Columns = Extract<LoaderReport, { type: 'result' }>;

export interface CrewLook {
  readonly online: number;
  readonly lost: number;
  readonly failed: Readonly<Record<string, number>>;
  readonly snapshot: Snapshot;
  /** CPU seconds of each thread. */
  readonly threads: readonly number[];
}

export class Crew {
  readonly #workers: Piscina;
  readonly #crypto: Piscina;
  readonly #ports: MessagePort[] = [];
  readonly #ticks: (Tick | undefined)[] = [];
  readonly #results: ((columns: Columns) => void)[] = [];
  readonly #closed: Promise<void>[] = [];
  #ready = 0;
  /** Rejects when a thread dies. */
  readonly died: Promise<never>;
  #fail!: (error: Error) => void;

  constructor(tasks: readonly LoaderTask[]) {
    this.died = new Promise((_, reject) => {
      this.#fail = reject;
    });
    this.died.catch(() => {}); // whoever waits for it hears of it
    const [{ caCert, serverName }] = tasks;
    this.#crypto = createCryptoPool({ role: 'client', caCert, serverName });
    this.#workers = new Piscina({
      filename: new URL('../../workers/load.ts', import.meta.url).href,
      minThreads: tasks.length,
      maxThreads: tasks.length,
      concurrentTasksPerWorker: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      atomics: 'disabled',
    });
    for (const [thread, task] of tasks.entries()) this.#start(task, thread);
  }

  #start(task: LoaderTask, thread: number): void {
    const { port1, port2 } = new MessageChannel();
    this.#ports[thread] = port1;
    port1.on('message', (report: LoaderReport) => this.#heard(thread, report));
    const ended = this.#workers.run({ task, port: port2 }, { transferList: [port2] }).then(
      () => port1.close(),
      (error: Error) => {
        port1.close();
        this.#fail(error);
      },
    );
    this.#closed.push(ended);
  }

  #heard(thread: number, report: LoaderReport): void {
    switch (report.type) {
      case 'task':
        return void this.#compute(thread, report);
      case 'tick':
        this.#ticks[thread] = report;
        return;
      case 'result':
        this.#results[thread]?.(report);
        return;
      case 'ready':
        this.#ready++;
    }
  }

  async #compute(thread: number, { id, task }: Extract<LoaderReport, { type: 'task' }>): Promise<void> {
    const result = await this.#crypto.run({ task }).catch((error: Error) => ({
      op: 'refused',
      alert: 80, // internal_error, RFC 8446 §6.2
      reason: error.message,
    }));
    this.#tell(thread, { type: 'taskDone', id, result });
  }

  #tell(thread: number, command: LoaderCommand): void {
    this.#ports[thread].postMessage(command);
  }

  tellAll(command: LoaderCommand): void {
    for (let thread = 0; thread < this.#ports.length; thread++) this.#tell(thread, command);
  }

  /** Each thread its own spacing: it has only some of the clients. */
  go(times: readonly TrafficTimes[]): void {
    for (const [thread, each] of times.entries()) this.#tell(thread, { type: 'go', times: each });
  }

  /** The latest tick of every thread, added up. */
  look(): CrewLook {
    const ticks = this.#ticks.filter((tick) => tick !== undefined);
    const totals = noTotals();
    const histograms = { oneWay: noBuckets(), roundTrip: noBuckets(), delay: noBuckets() };
    const failed: Record<string, number> = {};
    const [port, verdicts]: Record<string, number>[] = [{}, {}];
    for (const { snapshot, failed: own } of ticks) {
      addTotals(totals, snapshot.totals);
      for (const name of ['oneWay', 'roundTrip', 'delay'] as const)
        addBuckets(histograms[name], snapshot.histograms[name]);
      for (const [into, from] of [
        [failed, own],
        [port, snapshot.port],
        [verdicts, snapshot.verdicts],
      ] as const)
        for (const [name, value] of Object.entries(from)) into[name] = (into[name] ?? 0) + value;
    }
    const threads = ticks.map(({ snapshot }) => snapshot.cpuSeconds);
    const cpuSeconds = threads.reduce((sum, each) => sum + each, 0);
    const at = Math.min(...ticks.map(({ snapshot }) => snapshot.at));
    return {
      online: ticks.reduce((sum, { online }) => sum + online, 0),
      lost: ticks.reduce((sum, { lost }) => sum + lost, 0),
      failed,
      threads,
      snapshot: { totals, histograms, port, verdicts, cpuSeconds, at },
    };
  }

  get ready(): boolean {
    return this.#ready === this.#ports.length && this.#ticks.filter(Boolean).length === this.#ports.length;
  }

  /** Client by client, in the order of their numbers. */
  async columns(): Promise<Omit<Columns, 'type'>> {
    const parts = await Promise.all(
      this.#ports.map(
        (_, thread) =>
          new Promise<Columns>((resolve) => {
            this.#results[thread] = resolve;
            this.#tell(thread, { type: 'result' });
          }),
      ),
    );
    return {
      sent: parts.flatMap(({ sent }) => sent),
      received: parts.flatMap(({ received }) => received),
      measuredBytes: parts.flatMap(({ measuredBytes }) => measuredBytes),
      online: parts.flatMap(({ online }) => online),
    };
  }

  /** Goodbye of every session, then the end of the threads. */
  async close(): Promise<void> {
    this.tellAll({ type: 'close' });
    await Promise.race([Promise.all(this.#closed), new Promise((resolve) => setTimeout(resolve, 3_000))]);
    await Promise.all([this.#workers.destroy(), this.#crypto.destroy()]);
  }
}
