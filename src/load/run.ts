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
import { addSparse, type Buckets, noBuckets, percentile, summarise } from './buckets.ts';
import { type Channel, connectSink, type FromSink, SINK_PROTOCOL, type ToSink } from './channel.ts';
import { Crew, type CrewLook } from './crew.ts';
import { jainIndex } from './fairness.ts';
import { busiest, coreShares, coreTicks, machine, networkDrops, threadSeconds } from './kernel.ts';
import { balance } from './ledger.ts';
import type { Look } from './live.ts';
import type { LoaderTask } from './loader.ts';
import { type Look as DropLook, type Ends, findLosses } from './losses.ts';
import { type DirectionResult, RESULT_VERSION, type Result } from './result.ts';
import { describeSizes, type Endpoint, type Scenario } from './scenario.ts';
import { createSchedule, LOGIN_PATIENCE } from './schedule.ts';
import { saturatedStage } from './sweep.ts';
import { noTotals, type Snapshot } from './traffic.ts';
import { formatRate, formatTime } from './units.ts';

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

/** What has been spent and counted by a moment. */
interface Mark {
  readonly at: Micros;
  readonly server: ReadonlyMap<number, number> | undefined;
  readonly threads: readonly number[];
  readonly crew: Snapshot;
  readonly sink: Snapshot;
  readonly cores: ReturnType<typeof coreTicks>;
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
  #known = 0;
  #heard: () => void = () => {};
  readonly #series: Result['series'] = {
    at: [],
    upBits: [],
    downBits: [],
    loss: [],
    p50: [],
    p99: [],
    train: [],
    cores: [],
  };
  #phase: Look['phase'] = 'login';
  #start: Micros = 0;
  #began: Micros;
  #lag = 0;
  /** Datagrams per second of each shard of the server, as it last told. */
  #shardRates: number[] = [];
  #told: EngineStatistics | undefined;
  #asking = false;
  #last: { at: Micros; sink: Snapshot; crew: CrewLook; cores: ReturnType<typeof coreTicks> } | undefined;

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
      void channel.closed.then(() => refuse('it closed the control connection'));
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
    const { scenario, server, sink, user, password, caCert, serverName, threads, bufferBytes } = this.#options;
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
        tickMs: TICK_MS,
      };
    });
  }

  #hear(message: FromSink): void {
    if (message.type !== 'tick') return;
    this.#known = message.known;
    this.#sink = dense(message.snapshot);
    this.#heard();
  }

  /** The next tick of the sink. */
  #tick(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#heard = resolve;
      this.#crew.died.catch(reject);
      void this.#channel.closed.then(() =>
        reject(new RingwayError('LOAD_SINK', 'the sink went away', 'look at what it printed last')),
      );
    });
  }

  async result(): Promise<Result> {
    const { scenario } = this.#options;
    const loginSeconds = await this.#login();
    if (this.#down) await this.#greet();
    const before = await this.#drops();
    const sentBefore = this.#crew.look().snapshot.port.datagramsOut ?? 0;
    const schedule = createSchedule(scenario);
    this.#start = this.#addon.monotonicMicros() + LEAD;
    const measureFrom = this.#start + scenario.warmup;
    const measureTo = measureFrom + scenario.duration;
    this.#go(measureFrom, measureTo);
    this.#phase = 'warm-up';
    await this.#watch(measureFrom, this.#start, 'warm-up');
    const first = this.#mark();
    await this.#watch(measureTo, measureFrom, 'measuring');
    const last = this.#mark();
    const endedEarly = this.#stop.aborted;
    if (schedule.spacing > 0 && this.#up) this.#lag = this.#behind(schedule.spacing);
    if (endedEarly) {
      this.#crew.tellAll({ type: 'stopTraffic' });
      this.#channel.say({ type: 'finish' });
    }
    await this.#drain();
    const measured = Math.max(0.001, (Math.min(last.at, measureTo) - measureFrom) / SECOND);
    return this.#assemble({ loginSeconds, before, sentBefore, first, last, measured, endedEarly });
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
          'check --server, --user, --password, --ca-cert and --transport',
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

  /** Share of the schedule that has not left yet. */
  #behind(spacing: Micros): number {
    const { totals, at } = this.#crew.look().snapshot;
    const due = Math.floor((at - this.#start) / spacing);
    return due <= 0 ? 0 : Math.max(0, due - totals.turns) / due;
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

  /** Asks the server for its counters, once a second at most. */
  async #askShards(): Promise<void> {
    const now = this.#addon.monotonicMicros();
    if (this.#asking || (this.#told && now - this.#told.at < SECOND)) return;
    this.#asking = true;
    const told = await this.#options.statistics();
    const before = this.#told;
    this.#told = told;
    this.#asking = false;
    if (!told || !before) return;
    const moved = (port: Readonly<Record<string, number>>) => (port.udpDatagramsIn ?? 0) + (port.udpDatagramsOut ?? 0);
    this.#shardRates = told.shards.map(({ shard, port }) => {
      const past = before.shards.find((other) => other.shard === shard)?.port ?? {};
      return ((moved(port) - moved(past)) * SECOND) / (told.at - before.at);
    });
  }

  /** Adds a point to the series, and shows it. */
  #display(progress: number): void {
    void this.#askShards();
    const now = this.#addon.monotonicMicros();
    const crew = this.#crew.look();
    const cores = coreTicks();
    const last = this.#last ?? { at: this.#began, sink: emptySnapshot(), crew, cores };
    const seconds = (now - last.at) / SECOND;
    const rate = (of: (each: { sink: Snapshot; crew: CrewLook }) => number) =>
      seconds > 0 ? ((of({ sink: this.#sink, crew }) - of(last)) * 8) / seconds : 0;
    const upBits = rate(({ sink }) => sink.totals.deliveredBytes);
    const downBits = rate(({ crew: each }) => each.snapshot.totals.deliveredBytes);
    const late = this.#lateSince(last, crew);
    // what was offered up to the look before has had time to arrive
    const offered = (this.#up ? last.crew.snapshot.totals.offered : 0) + (this.#down ? last.sink.totals.offered : 0);
    const delivered = (this.#up ? this.#sink.totals.delivered : 0) + (this.#down ? crew.snapshot.totals.delivered : 0);
    const loss = offered === 0 ? 0 : Math.max(0, offered - delivered) / offered;
    const shares = coreShares(last.cores, cores);
    const [p50, p99, p999] = [0.5, 0.99, 0.999].map((share) => percentile(late, share));
    this.#last = { at: now, sink: this.#sink, crew, cores };
    if (this.#phase === 'warm-up' || this.#phase === 'measuring')
      this.#record({
        at: (now - this.#start) / SECOND,
        upBits,
        downBits,
        loss,
        p50,
        p99,
        train: this.#train(last, crew),
        cores: shares,
      });
    this.#show({
      phase: this.#phase,
      progress,
      seconds: (now - this.#began) / SECOND,
      online: crew.online,
      wanted: this.#options.scenario.clients,
      upBits: this.#up ? upBits : null,
      downBits: this.#down ? downBits : null,
      loss,
      p50,
      p99,
      p999,
      cores: shares,
      shards: this.#shardRates,
      full: null,
    });
  }

  #lateSince(last: { sink: Snapshot; crew: CrewLook }, crew: CrewLook): Buckets {
    const late = noBuckets();
    const name = this.#sameClock ? 'oneWay' : 'roundTrip';
    const ends = [
      [this.#sink.histograms[name], last.sink.histograms[name]],
      [crew.snapshot.histograms[name], last.crew.snapshot.histograms[name]],
    ];
    for (const [now, before] of ends) for (let i = 0; i < late.length; i++) late[i] += now[i] - before[i];
    return late;
  }

  #train(last: { sink: Snapshot; crew: CrewLook }, crew: CrewLook): number | null {
    const [now, before] = this.#up ? [this.#sink, last.sink] : [crew.snapshot, last.crew.snapshot];
    const trains = received(now).trains - received(before).trains;
    return trains > 0 ? (received(now).packets - received(before).packets) / trains : null;
  }

  #record(point: {
    at: number;
    upBits: number;
    downBits: number;
    loss: number;
    p50: Micros | undefined;
    p99: Micros | undefined;
    train: number | null;
    cores: number[];
  }): void {
    if (point.at < 0) return;
    const series = this.#series;
    series.at.push(point.at);
    series.upBits.push(point.upBits);
    series.downBits.push(point.downBits);
    series.loss.push(point.loss);
    series.p50.push(point.p50 ?? null);
    series.p99.push(point.p99 ?? null);
    series.train.push(point.train);
    point.cores.forEach((share, core) => {
      series.cores[core] ??= [];
      series.cores[core].push(share);
    });
  }

  async #assemble(run: {
    loginSeconds: number;
    before: DropLook;
    sentBefore: number;
    first: Mark;
    last: Mark;
    measured: number;
    endedEarly: boolean;
  }): Promise<Result> {
    const { scenario, watch } = this.#options;
    const sinkColumns = new Promise<Extract<FromSink, { type: 'result' }>>((resolve) => {
      this.#channel.hear = (message) => {
        if (message.type === 'result') resolve(message);
      };
    });
    this.#channel.say({ type: 'finish' });
    const [columns, sinkResult] = [await this.#crew.columns(), await sinkColumns];
    const sink = dense(sinkResult.snapshot);
    const crew = this.#crew.look();
    const { first, last, measured } = run;
    const seconds = (last.at - first.at) / SECOND;
    const drops = { before: run.before, after: await this.#drops(), sentBefore: run.sentBefore };
    const uplink = this.#up
      ? this.#direction(
          'up',
          crew.snapshot,
          sink,
          columns.sent,
          sinkResult.measuredBytes,
          columns.online,
          measured,
          drops,
          crew,
          sink,
        )
      : null;
    const downlink = this.#down
      ? this.#direction(
          'down',
          sink,
          crew.snapshot,
          sinkResult.sent,
          columns.measuredBytes,
          columns.online,
          measured,
          drops,
          crew,
          sink,
        )
      : null;
    const busy = seconds > 0 ? Math.max(...last.threads.map((spent, i) => (spent - first.threads[i]) / seconds)) : 0;
    const server = first.server && last.server ? sumOf(last.server) - sumOf(first.server) : null;
    const carried = deliveredBytes(last) - deliveredBytes(first);
    const lost = crew.lost;
    const failed = Object.values(crew.failed).reduce((sum, each) => sum + each, 0);
    const invalid = [
      ...(this.#lag > 0.01 ? [`the loader was behind its schedule by ${(this.#lag * 100).toFixed(1)} %`] : []),
      ...(busy > 0.9 ? [`the loader's own core was ${(busy * 100).toFixed(0)} % busy`] : []),
      ...(crew.online + lost < scenario.clients
        ? [`${failed - lost} of ${scenario.clients} clients could not log in`]
        : []),
      ...(lost > 0 ? [`${lost} sessions were lost on the way`] : []),
    ];
    const serverBusy = first.server && last.server ? busiest(first.server, last.server, seconds) : 0;
    const stage = saturatedStage({
      lag: this.#lag,
      loaderBusy: busy,
      sinkBusy: seconds > 0 ? (last.sink.cpuSeconds - first.sink.cpuSeconds) / seconds : 0,
      serverBusy,
      losses: [...(uplink?.losses ?? []), ...(downlink?.losses ?? [])],
      machineBusy: mean(coreShares(first.cores, last.cores)),
    });
    return {
      format: 'ringway-load',
      version: RESULT_VERSION,
      title: this.#options.title,
      started: new Date().toISOString().replace(/T(.{8}).*/, ' $1Z'),
      command: this.#options.command,
      release: this.#options.release,
      subject: this.#options.subject,
      scenario,
      endedEarly: run.endedEarly,
      invalid,
      measuredSeconds: measured,
      clients: {
        wanted: scenario.clients,
        online: crew.online,
        lost,
        failed: { ...crew.failed },
        loginSeconds: run.loginSeconds,
      },
      uplink,
      downlink,
      generator: {
        lag: this.#lag,
        delay: summarise(crew.snapshot.histograms.delay),
        busy,
        cpuSeconds: crew.snapshot.cpuSeconds,
      },
      cpu: {
        cores: last.cores.length,
        server,
        sink: last.sink.cpuSeconds - first.sink.cpuSeconds,
        serverPerGb: server !== null && carried > 0 ? server / (carried / 1e9) : null,
      },
      saturated: stage,
      shards: shardGrowth(run.before.statistics, drops.after.statistics),
      series: this.#series,
      machine: machine(),
      configuration: {
        ...describe(scenario),
        ...this.#options.configuration,
        'server busy':
          watch === undefined ? 'not visible from here' : `busiest thread ${(serverBusy * 100).toFixed(0)} %`,
        'loader AEAD': chooseAead(this.#addon, 'auto'),
      },
    };
  }

  #direction(
    way: 'up' | 'down',
    from: Snapshot,
    to: Snapshot,
    sent: readonly number[],
    measuredBytes: readonly number[],
    online: readonly number[],
    measured: number,
    drops: { before: DropLook; after: DropLook; sentBefore: number },
    crew: CrewLook,
    sink: Snapshot,
  ): DirectionResult {
    const trainSent = lengthOf(sentTrains(from));
    const trainReceived = lengthOf(received(to));
    const { sizes } = this.#options.scenario;
    const ends: Ends = {
      serverPort: this.#options.server.portNumber,
      sinkPort: this.#sinkPort,
      trains: { before: lengths(trainSent, sizes), behind: lengths(trainReceived, sizes) },
      loaderVerdicts: crew.snapshot.verdicts,
      loaderPort: crew.snapshot.port,
      sinkPortCounters: sink.port,
      datagramsSent: (crew.snapshot.port.datagramsOut ?? 0) - drops.sentBefore,
    };
    const offered = sent.reduce((sum, each) => sum + each, 0);
    const ledger = balance(offered, to.totals.delivered, findLosses(way, drops.before, drops.after, ends));
    const clientBits = measuredBytes.filter((_, client) => online[client]).map((bytes) => (bytes * 8) / measured);
    const late = this.#sameClock ? to.histograms.oneWay : from.histograms.roundTrip;
    return {
      offeredBits: (from.totals.measuredOfferedBytes * 8) / measured,
      goodputBits: (to.totals.measuredDeliveredBytes * 8) / measured,
      offered: ledger.offered,
      delivered: ledger.delivered,
      duplicates: to.totals.duplicates,
      reordered: to.totals.reordered,
      latencyKind: this.#sameClock ? 'one-way' : 'round trip',
      latency: summarise(late),
      fairness: jainIndex(clientBits),
      clientBits,
      losses: [...ledger.losses],
      unexplained: ledger.unexplained,
      trainSent,
      trainReceived,
    };
  }

  async close(): Promise<void> {
    this.#channel.close();
    await this.#crew.close();
  }
}

function describe(scenario: Scenario): Record<string, string> {
  const { clients, rate, sizes, burst, flows, traffic, transport, expresslane, warmup, ramp } = scenario;
  return {
    clients: String(clients),
    'rate of each': rate === null ? 'as fast as possible' : formatRate(rate),
    'packet size': `${describeSizes(sizes)} bytes`,
    'packets due together': String(burst),
    'flows of each': String(flows),
    traffic,
    transport,
    Expresslane: expresslane ? 'on' : 'off',
    'warm-up': formatTime(warmup),
    'logins begun': `${ramp} a second`,
  };
}

const sumOf = (spent: ReadonlyMap<number, number>) => [...spent.values()].reduce((sum, each) => sum + each, 0);
const mean = (values: readonly number[]) => values.reduce((sum, each) => sum + each, 0) / Math.max(1, values.length);
const deliveredBytes = ({ sink, crew }: { sink: Snapshot; crew: Snapshot }) =>
  sink.totals.deliveredBytes + crew.totals.deliveredBytes;

/** Trains by the kernel's count: one a system call. */
const sentTrains = ({ port, totals }: Snapshot) => ({
  packets: totals.offered,
  trains: port.trainsOut ?? port.udpTrainsOut ?? 0,
});
const received = ({ port, totals }: Snapshot) => ({
  packets: port.datagramsIn ?? totals.delivered,
  trains: port.trainsIn ?? totals.trainsReceived,
});
const lengthOf = ({ packets, trains }: { packets: number; trains: number }) => (trains > 0 ? packets / trains : null);

/** Mean and longest train: what one kernel call of 65,000 bytes and 64 segments holds. */
function lengths(mean: number | null, sizes: readonly number[]): [number, number] {
  const sealed = Math.min(...sizes) + 56; // protocol specification §6.5: header, counter and tag of the Expresslane
  return [Math.max(1, mean ?? 1), Math.min(64, Math.floor(65_000 / sealed))];
}

/** Per shard, what its counters have grown by. */
function shardGrowth(
  before: EngineStatistics | undefined,
  after: EngineStatistics | undefined,
): Record<string, number>[] {
  return (after?.shards ?? []).map((shard) => {
    const past = before?.shards.find((other) => other.shard === shard.shard);
    const grown: Record<string, number> = { 'sessions online': shard.online };
    grown['CPU ms'] = Math.round((shard.cpuMicros - (past?.cpuMicros ?? 0)) / 1_000);
    for (const [name, value] of Object.entries(shard.port)) grown[name] = value - (past?.port[name] ?? 0);
    for (const { stage, drops } of shard.stages)
      for (const [reason, count] of Object.entries(drops))
        grown[`${stage} ${reason}`] = count - (past?.stages.find((other) => other.stage === stage)?.drops[reason] ?? 0);
    return Object.fromEntries(Object.entries(grown).filter(([, value]) => value !== 0));
  });
}

function emptySnapshot(): Snapshot {
  const histograms = { oneWay: noBuckets(), roundTrip: noBuckets(), delay: noBuckets() };
  return { totals: noTotals(), histograms, port: {}, verdicts: {}, cpuSeconds: 0, at: 0 };
}

function dense(from: Extract<FromSink, { type: 'tick' }>['snapshot']): Snapshot {
  const snapshot = emptySnapshot();
  for (const name of ['oneWay', 'roundTrip', 'delay'] as const)
    addSparse(snapshot.histograms[name], from.histograms[name] ?? []);
  return { ...snapshot, ...from, histograms: snapshot.histograms };
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
