/**
 * One run against a server that is up and a sink that listens: logins, warm-up, measurement, the last packets, the result. What
 * `--self` runs inside the namespaces it made, and what runs against anybody else's server.
 */
import { randomInt } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { readFileSync } from 'node:fs';
import { chooseAead } from '../datapath/backends.ts';
import { RingwayError } from '../errors.ts';
import { type Addon, loadAddon } from '../native/index.ts';
import type { EngineStatistics } from '../observe/statistics.ts';
import { type Micros, MS, SECOND } from '../wire/time.ts';
import { assess, type Evidence, type Mark } from './assess.ts';
import { type Channel, connectSink } from './channel.ts';
import { Crew } from './crew.ts';
import { coreTicks, networkDrops, threadSeconds } from './kernel.ts';
import { type Lag, measureLag, type Progress } from './lag.ts';
import type { Look } from './live.ts';
import type { LoaderTask } from './loader.ts';
import type { Look as DropLook } from './losses.ts';
import { type FromSink, SINK_PROTOCOL, type ToSink } from './messages.ts';
import type { Result } from './result.ts';
import type { Endpoint, Scenario } from './scenario.ts';
import { createSchedule, LOGIN_PATIENCE } from './schedule.ts';
import { dense, emptySnapshot } from './snapshots.ts';
import type { Snapshot } from './traffic.ts';
import { Watch } from './watch.ts';

const TICK_MS = 250;
/** Between the order to go and the first packet, so that both ends have heard it. */
const LEAD: Micros = 100 * MS;
/** Ticks without a new packet after which nothing is under way any more, and how many to wait at most. */
const QUIET_TICKS = 2;
const MOST_TICKS = 16;
/** Where the clocks of both ends differ, one packet of so many asks for an echo. */
const ECHO_EVERY = 50;

export interface RunOptions {
  readonly scenario: Scenario;
  readonly server: Endpoint;
  readonly sink: Endpoint;
  readonly sinkControl: string;
  readonly user: string;
  readonly password: string;
  /** PEM. */
  readonly caCert: string;
  readonly serverName: string;
  readonly threads: number;
  readonly bufferBytes: number;
  /** Local addresses of the clients; empty: the kernel chooses one for all. */
  readonly from: readonly string[];
  /** Process of the server on this machine: its CPU and its namespace's counters become part of the result. */
  readonly watch: number | undefined;
  /** What a Ringway server counts; undefined: it does not tell. */
  readonly statistics: () => Promise<EngineStatistics | undefined>;
  readonly subject: string;
  readonly title: string;
  readonly command: string;
  readonly release: string;
  readonly configuration: Readonly<Record<string, string>>;
}

export type Show = (look: Look) => void;

/** Runs to the end, or until `stop` is aborted. @throws RingwayError LOAD_SINK, LOAD_NOBODY */
export async function runLoad(options: RunOptions, show: Show, stop: AbortSignal): Promise<Result> {
  const run = await Run.open(options, show, stop);
  try {
    return await run.result();
  } finally {
    await run.close();
  }
}

class Run {
  readonly #options: RunOptions;
  readonly #addon: Addon;
  readonly #show: Show;
  readonly #stop: AbortSignal;
  readonly #channel: Channel<FromSink, ToSink>;
  readonly #crew: Crew;
  readonly #sameClock: boolean;
  readonly #sinkPid: number;
  readonly #sinkPort: number;
  #sink: Snapshot = emptySnapshot();
  #sinkSinceStart: Micros | null = null;
  #known = 0;
  #heard: () => void = () => {};
  readonly #watching: Watch;
  #phase: Look['phase'] = 'login';
  #start: Micros = 0;
  #began: Micros;
  #lag: Lag = { up: undefined, down: undefined };

  private constructor(
    options: RunOptions,
    addon: Addon,
    show: Show,
    stop: AbortSignal,
    channel: Channel<FromSink, ToSink>,
    ready: Extract<FromSink, { type: 'ready' }>,
    run: number,
    address: string,
  ) {
    this.#options = options;
    this.#addon = addon;
    this.#show = show;
    this.#stop = stop;
    this.#channel = channel;
    this.#sameClock = ready.boot === bootId();
    this.#sinkPid = ready.pid;
    this.#sinkPort = ready.portNumber;
    this.#began = addon.monotonicMicros();
    const { scenario, statistics } = options;
    this.#watching = new Watch({ scenario, statistics, began: this.#began, sameClock: this.#sameClock });
    this.#crew = new Crew(this.#tasks(run, address));
    channel.hear = (message) => this.#hear(message);
  }

  static async open(options: RunOptions, show: Show, stop: AbortSignal): Promise<Run> {
    const addon = loadAddon();
    const { address } = await lookup(options.server.host);
    const channel = await connectSink(options.sinkControl);
    const run = randomInt(2 ** 32);
    const ready = new Promise<Extract<FromSink, { type: 'ready' }>>((resolve, reject) => {
      const refuse = (why: string) =>
        reject(new RingwayError('LOAD_SINK', `the sink refuses: ${why}`, 'try again when it is free'));
      channel.hear = (message) => {
        if (message.type === 'ready') resolve(message);
        else if (message.type === 'refused') refuse(message.message);
      };
      void channel.closed.then((why) => refuse(why ?? 'it closed the control connection'));
    });
    channel.say({
      type: 'begin',
      protocol: SINK_PROTOCOL,
      run,
      scenario: options.scenario,
      echoEvery: ECHO_EVERY,
      tickMs: TICK_MS,
    });
    return new Run(options, addon, show, stop, channel, await ready, run, address);
  }

  get #up(): boolean {
    return this.#options.scenario.direction !== 'download';
  }
  get #down(): boolean {
    return this.#options.scenario.direction !== 'upload';
  }

  #tasks(run: number, address: string): LoaderTask[] {
    const { scenario, server, sink, user, password, caCert, serverName, threads, bufferBytes, from } = this.#options;
    const count = Math.min(threads, scenario.clients);
    const [a, b, c, d] = sink.host.split('.').map(Number);
    return Array.from({ length: count }, (_, thread) => {
      const first = Math.floor((thread * scenario.clients) / count);
      const clients = Math.floor(((thread + 1) * scenario.clients) / count) - first;
      return {
        role: 'loader' as const,
        bare: false,
        scenario,
        clients,
        traffic: {
          clients,
          first,
          run,
          form: 'inside' as const,
          destination: ((a << 24) | (b << 16) | (c << 8) | d) >>> 0,
          portNumber: sink.portNumber,
          flows: scenario.flows,
          burst: scenario.burst,
          window: scenario.traffic === 'window',
          echoEvery: this.#sameClock ? 0 : ECHO_EVERY,
          sizes: scenario.sizes,
        },
        address,
        portNumber: server.portNumber,
        user,
        password,
        caCert,
        serverName,
        aead: chooseAead(this.#addon, 'auto'),
        bufferBytes,
        from,
        tickMs: TICK_MS,
      };
    });
  }

  #hear(message: FromSink): void {
    if (message.type !== 'tick') return;
    this.#known = message.known;
    this.#sinkSinceStart = message.sinceStart;
    this.#sink = dense(message.snapshot);
    this.#heard();
  }

  /** The next tick of the sink. */
  #tick(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#heard = resolve;
      this.#crew.died.catch(reject);
      void this.#lost().catch(reject);
    });
  }

  /** Rejects when the sink is gone. */
  async #lost(): Promise<never> {
    const why = await this.#channel.closed;
    const what = why === undefined ? 'the sink went away' : `what came from the sink was no sink's: ${why}`;
    throw new RingwayError('LOAD_SINK', what, 'look at what it printed last');
  }

  async result(): Promise<Result> {
    const { scenario } = this.#options;
    const loginSeconds = await this.#login();
    if (this.#down) await this.#greet();
    const before = await this.#drops();
    const sentBefore = this.#crew.look().snapshot.port.datagramsOut ?? 0;
    this.#start = this.#addon.monotonicMicros() + LEAD;
    this.#watching.start = this.#start;
    const measureFrom = this.#start + scenario.warmup;
    const measureTo = measureFrom + scenario.duration;
    this.#go(measureFrom, measureTo);
    this.#phase = 'warm-up';
    await this.#watch(measureFrom, this.#start, 'warm-up');
    const first = this.#mark();
    await this.#watch(measureTo, measureFrom, 'measuring');
    const last = this.#mark();
    const endedEarly = this.#stop.aborted;
    this.#lag = measureLag(scenario, this.#progress(measureTo), this.#sinkProgress());
    if (endedEarly) {
      this.#crew.tellAll({ type: 'stopTraffic' });
      this.#channel.say({ type: 'stop' });
    }
    await this.#drain();
    const measured = Math.max(0.001, (Math.min(last.at, measureTo) - measureFrom) / SECOND);
    return this.#assess({ loginSeconds, before, sentBefore, first, last, measured, endedEarly });
  }

  async #login(): Promise<number> {
    const { clients } = this.#options.scenario;
    let progress = { online: 0, at: this.#began };
    for (;;) {
      await this.#tick();
      if (!this.#crew.ready) continue;
      const { online, failed } = this.#crew.look();
      const over = Object.values(failed).reduce((sum, each) => sum + each, 0);
      const now = this.#addon.monotonicMicros();
      if (online > progress.online) progress = { online, at: now };
      this.#display(online / clients);
      if (online + over >= clients || now - progress.at > LOGIN_PATIENCE || this.#stop.aborted) {
        if (online > 0) return (now - this.#began) / SECOND;
        const codes = Object.keys(failed).join(', ') || (this.#stop.aborted ? 'ended early' : 'no answer in time');
        throw new RingwayError(
          'LOAD_NOBODY',
          `no client could log in: ${codes}`,
          'check --server, --user, the password, --ca-cert and --transport',
        );
      }
    }
  }

  /** Until the sink knows where everybody is. */
  async #greet(): Promise<void> {
    this.#crew.tellAll({ type: 'greet', on: true });
    for (let ticks = 0; ticks < MOST_TICKS && this.#known < this.#crew.look().online; ticks++) await this.#tick();
    this.#crew.tellAll({ type: 'greet', on: false });
  }

  #go(measureFrom: Micros, measureTo: Micros): void {
    const { scenario } = this.#options;
    const { spacing } = createSchedule(scenario);
    const tasks = this.#tasks(0, '');
    if (this.#up) {
      const times = { start: this.#start, measureFrom, measureTo, stop: measureTo };
      this.#crew.go(tasks.map(({ clients }) => ({ ...times, spacing: (spacing * scenario.clients) / clients })));
    }
    if (this.#down)
      this.#channel.say({ type: 'go', spacing, warmup: scenario.warmup + LEAD, duration: scenario.duration });
  }

  async #watch(until: Micros, since: Micros, phase: Look['phase']): Promise<void> {
    this.#phase = phase;
    while (!this.#stop.aborted) {
      const left = until - this.#addon.monotonicMicros();
      if (left <= 0) return;
      if (left < TICK_MS * MS) {
        await new Promise((resolve) => setTimeout(resolve, left / MS));
        return;
      }
      await this.#tick();
      const now = this.#addon.monotonicMicros();
      this.#display(Math.max(0, Math.min(1, (now - since) / (until - since))));
    }
  }

  /** @param stop when the last train is due */
  #progress(stop: Micros): Progress {
    const { totals, at } = this.#crew.look().snapshot;
    return { sinceStart: Math.min(at, stop) - this.#start, turns: totals.turns };
  }

  /** By the sink's own clock. */
  #sinkProgress(): Progress | undefined {
    const sinceStart = this.#sinkSinceStart;
    return sinceStart === null ? undefined : { sinceStart, turns: this.#sink.totals.turns };
  }

  async #drain(): Promise<void> {
    this.#phase = 'draining';
    let quiet = 0;
    let seen = -1;
    for (let ticks = 0; ticks < MOST_TICKS && quiet < QUIET_TICKS; ticks++) {
      await this.#tick();
      const now = this.#sink.totals.delivered + this.#crew.look().snapshot.totals.delivered;
      quiet = now === seen ? quiet + 1 : 0;
      seen = now;
      this.#display(quiet / QUIET_TICKS);
    }
    if (quiet === QUIET_TICKS) return;
    // far behind its schedule: what has not left counts as lag, not as loss
    this.#crew.tellAll({ type: 'stopTraffic' });
    this.#channel.say({ type: 'stop' });
    for (let ticks = 0; ticks < 2 * QUIET_TICKS; ticks++) await this.#tick();
  }

  #display(progress: number): void {
    const both = { sink: this.#sink, crew: this.#crew.look() };
    this.#show(this.#watching.look(this.#addon.monotonicMicros(), this.#phase, progress, both));
  }

  async #drops(): Promise<DropLook> {
    const { watch } = this.#options;
    return {
      loader: networkDrops('self'),
      server: watch === undefined ? undefined : networkDrops(watch),
      sink: this.#sameClock ? networkDrops(this.#sinkPid) : undefined,
      statistics: await this.#options.statistics(),
    };
  }

  /** What has been spent so far. */
  #mark(): Mark {
    const { watch } = this.#options;
    const crew = this.#crew.look();
    return {
      at: this.#addon.monotonicMicros(),
      server: watch === undefined ? undefined : threadSeconds(watch),
      threads: crew.threads,
      crew: crew.snapshot,
      sink: this.#sink,
      cores: coreTicks(),
    };
  }

  async #assess(
    run: Pick<Evidence, 'loginSeconds' | 'before' | 'sentBefore' | 'first' | 'last' | 'measured' | 'endedEarly'>,
  ): Promise<Result> {
    const { scenario, title, command, release, subject, configuration, server } = this.#options;
    const result = new Promise<Extract<FromSink, { type: 'result' }>>((resolve) => {
      this.#channel.hear = (message) => {
        if (message.type === 'result') resolve(message);
      };
    });
    this.#channel.say({ type: 'finish' });
    const [loader, sink] = [await this.#crew.columns(), await Promise.race([result, this.#lost()])];
    return assess({
      ...run,
      scenario,
      heading: { title, command, release, subject },
      configuration: { ...configuration, ...this.#loader() },
      sameClock: this.#sameClock,
      serverPort: server.portNumber,
      sinkPort: this.#sinkPort,
      lag: this.#lag,
      after: await this.#drops(),
      crew: this.#crew.look(),
      sink: dense(sink.snapshot),
      columns: { loader, sink, online: loader.online },
      series: this.#watching.series,
    });
  }

  /** What the report says of the loader. */
  #loader(): Record<string, string> {
    const { from, threads } = this.#options;
    return {
      'loader AEAD': chooseAead(this.#addon, 'auto'),
      'loader threads': String(threads),
      'client addresses': String(Math.max(1, from.length)),
    };
  }

  async close(): Promise<void> {
    this.#channel.close();
    await this.#crew.close();
  }
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
