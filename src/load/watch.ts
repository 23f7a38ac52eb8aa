/** Looks at a run while it goes on: from one look to the next, for the display and for the series of the result. */
import type { EngineStatistics } from '../observe/statistics.ts';
import { type Micros, SECOND } from '../wire/time.ts';
import { type Buckets, noBuckets, percentile } from './buckets.ts';
import type { CrewLook } from './crew.ts';
import { coreShares, coreTicks } from './kernel.ts';
import type { Look } from './live.ts';
import type { Result } from './result.ts';
import type { Scenario } from './scenario.ts';
import { emptySnapshot, receivedTrains } from './snapshots.ts';
import { saturatedStage } from './sweep.ts';
import type { Snapshot } from './traffic.ts';

/** Both ends at a moment. */
interface Both {
  readonly sink: Snapshot;
  readonly crew: CrewLook;
}

export interface WatchOptions {
  readonly scenario: Pick<Scenario, 'direction' | 'clients'>;
  readonly began: Micros;
  readonly sameClock: boolean;
  readonly statistics: () => Promise<EngineStatistics | undefined>;
}

export class Watch {
  readonly series: Result['series'] = {
    at: [],
    upBits: [],
    downBits: [],
    loss: [],
    p50: [],
    p99: [],
    train: [],
    cores: [],
  };
  /** When the traffic began; the series counts from there. */
  start: Micros = Number.POSITIVE_INFINITY;
  readonly #options: WatchOptions;
  readonly #up: boolean;
  readonly #down: boolean;
  /** Datagrams per second of each shard of the server, as it last told. */
  #shardRates: number[] = [];
  #told: EngineStatistics | undefined;
  #asking = false;
  #last: (Both & { at: Micros; cores: ReturnType<typeof coreTicks> }) | undefined;

  constructor(options: WatchOptions) {
    this.#options = options;
    this.#up = options.scenario.direction !== 'download';
    this.#down = options.scenario.direction !== 'upload';
  }

  /** What has happened since the look before; during warm-up and measurement a point of the series. */
  look(now: Micros, phase: Look['phase'], progress: number, both: Both): Look {
    void this.#askShards(now);
    const cores = coreTicks();
    const last = this.#last ?? { at: this.#options.began, sink: emptySnapshot(), crew: both.crew, cores };
    this.#last = { ...both, at: now, cores };
    const late = this.#lateSince(last, both);
    const rates = this.#rates(last, both, (now - last.at) / SECOND);
    const [p50, p99, p999] = [0.5, 0.99, 0.999].map((share) => percentile(late, share));
    const look: Look = {
      phase,
      progress,
      seconds: (now - this.#options.began) / SECOND,
      online: both.crew.online,
      wanted: this.#options.scenario.clients,
      ...rates,
      loss: this.#loss(last, both),
      p50,
      p99,
      p999,
      cores: coreShares(last.cores, cores),
      shards: this.#shardRates,
      full: this.#full(last, both, (now - last.at) / SECOND, coreShares(last.cores, cores)),
    };
    if (phase === 'warm-up' || phase === 'measuring')
      this.#record((now - this.start) / SECOND, look, this.#train(last, both));
    return look;
  }

  #rates(last: Both, now: Both, seconds: number): Pick<Look, 'upBits' | 'downBits'> {
    const rate = (of: (each: Both) => number) => (seconds > 0 ? ((of(now) - of(last)) * 8) / seconds : 0);
    return {
      upBits: this.#up ? rate(({ sink }) => sink.totals.deliveredBytes) : null,
      downBits: this.#down ? rate(({ crew }) => crew.snapshot.totals.deliveredBytes) : null,
    };
  }

  /** The stage whose CPU is full; losses have their reasons only at the end. */
  #full(last: Both, now: Both, seconds: number, cores: readonly number[]): string | null {
    const share = (spent: number, before: number) => (seconds > 0 ? (spent - before) / seconds : 0);
    const loaders = now.crew.threads.map((spent, i) => share(spent, last.crew.threads[i] ?? spent));
    return saturatedStage({
      lag: 0,
      sinkLag: 0,
      loaderBusy: Math.max(0, ...loaders),
      sinkBusy: share(now.sink.cpuSeconds, last.sink.cpuSeconds),
      serverBusy: 0,
      losses: [],
      machineBusy: cores.reduce((sum, each) => sum + each, 0) / Math.max(1, cores.length),
    });
  }

  /** What was offered up to the look before has had time to arrive. */
  #loss(last: Both, now: Both): number {
    const offered = (this.#up ? last.crew.snapshot.totals.offered : 0) + (this.#down ? last.sink.totals.offered : 0);
    const delivered =
      (this.#up ? now.sink.totals.delivered : 0) + (this.#down ? now.crew.snapshot.totals.delivered : 0);
    return offered === 0 ? 0 : Math.max(0, offered - delivered) / offered;
  }

  #lateSince(last: Both, now: Both): Buckets {
    const late = noBuckets();
    const name = this.#options.sameClock ? 'oneWay' : 'roundTrip';
    const ends = [
      [now.sink.histograms[name], last.sink.histograms[name]],
      [now.crew.snapshot.histograms[name], last.crew.snapshot.histograms[name]],
    ];
    for (const [after, before] of ends) for (let i = 0; i < late.length; i++) late[i] += after[i] - before[i];
    return late;
  }

  #train(last: Both, now: Both): number | null {
    const end = ({ sink, crew }: Both) => receivedTrains(this.#up ? sink : crew.snapshot);
    const trains = end(now).trains - end(last).trains;
    return trains > 0 ? (end(now).packets - end(last).packets) / trains : null;
  }

  #record(at: number, look: Look, train: number | null): void {
    if (at < 0) return;
    const { series } = this;
    series.at.push(at);
    series.upBits.push(look.upBits ?? 0);
    series.downBits.push(look.downBits ?? 0);
    series.loss.push(look.loss);
    series.p50.push(look.p50 ?? null);
    series.p99.push(look.p99 ?? null);
    series.train.push(train);
    look.cores.forEach((share, core) => {
      series.cores[core] ??= [];
      series.cores[core].push(share);
    });
  }

  /** Asks the server for its counters, once a second at most. */
  async #askShards(now: Micros): Promise<void> {
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
}
