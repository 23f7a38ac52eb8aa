/** What a tunnel carries and costs from one look to the next. */
import { CLIENT_DEVICE, type Tunnel } from '../lab/tunnel.ts';

/** Sums over the shards of an engine since it started (`portCounters`), as far as they are needed here. */
export interface EngineCounters {
  readonly packets: number;
  readonly systemCalls: number;
}

/** @returns undefined while the engine does not answer */
export type ReadCounters = () => Promise<EngineCounters | undefined>;

export interface Reading {
  readonly seconds: number;
  readonly upBits: number;
  readonly downBits: number;
  readonly serverCpu: number;
  readonly clientCpu: number;
  /** Of the server's engine; undefined where it does not say. */
  readonly packets: number | undefined;
  readonly systemCalls: number | undefined;
}

interface Totals {
  readonly at: number;
  readonly up: number;
  readonly down: number;
  readonly cpu: { readonly server: number; readonly client: number };
  readonly engine: EngineCounters | undefined;
}

export class Meter {
  readonly #tunnel: Tunnel;
  readonly #readCounters: ReadCounters;
  #last: Totals;

  private constructor(tunnel: Tunnel, readCounters: ReadCounters, first: Totals) {
    this.#tunnel = tunnel;
    this.#readCounters = readCounters;
    this.#last = first;
  }

  static async start(tunnel: Tunnel, readCounters: ReadCounters): Promise<Meter> {
    return new Meter(tunnel, readCounters, await totals(tunnel, readCounters));
  }

  /** @returns what happened since the look before */
  async read(): Promise<Reading> {
    const [before, now] = [this.#last, await totals(this.#tunnel, this.#readCounters)];
    this.#last = now;
    const engine = before.engine && now.engine;
    return {
      seconds: (now.at - before.at) / 1000,
      upBits: (now.up - before.up) * 8,
      downBits: (now.down - before.down) * 8,
      serverCpu: now.cpu.server - before.cpu.server,
      clientCpu: now.cpu.client - before.cpu.client,
      packets: engine && engine.packets - (before.engine?.packets ?? 0),
      systemCalls: engine && engine.systemCalls - (before.engine?.systemCalls ?? 0),
    };
  }
}

async function totals(tunnel: Tunnel, readCounters: ReadCounters): Promise<Totals> {
  const { bytesIn, bytesOut } = tunnel.lab.client.counters(CLIENT_DEVICE);
  const engine = await readCounters();
  return { at: performance.now(), up: bytesOut, down: bytesIn, cpu: tunnel.cpu(), engine };
}

/** Adds readings that follow each other. */
export function sum(readings: readonly Reading[]): Reading {
  const total = (figure: 'seconds' | 'upBits' | 'downBits' | 'serverCpu' | 'clientCpu') =>
    readings.reduce((all, reading) => all + reading[figure], 0);
  const known = (figure: 'packets' | 'systemCalls') =>
    readings.some((reading) => reading[figure] === undefined)
      ? undefined
      : readings.reduce((all, reading) => all + (reading[figure] ?? 0), 0);
  return {
    seconds: total('seconds'),
    upBits: total('upBits'),
    downBits: total('downBits'),
    serverCpu: total('serverCpu'),
    clientCpu: total('clientCpu'),
    packets: known('packets'),
    systemCalls: known('systemCalls'),
  };
}
