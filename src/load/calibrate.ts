/**
 * How much one loader thread can make: real sessions' packets, sealed and sent over loopback as fast as it goes, to a checker that opens
 * every one. A server is measured soundly only by a loader that has room to spare.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { chooseAead } from '../datapath/backends.ts';
import { RingwayError } from '../errors.ts';
import { loadAddon } from '../native/index.ts';
import { MS, SECOND } from '../wire/time.ts';
import type { CheckerReport } from './checker.ts';
import type { LoaderReport, LoaderTask } from './loader.ts';
import type { Scenario } from './scenario.ts';
import type { TrafficOptions } from './traffic.ts';

export interface Calibration {
  readonly packets: number;
  /** Inner bits per second of a thread that has a core to itself: what it sent over the CPU time it took. */
  readonly bitsPerCore: number;
  readonly bitsPerSecond: number;
  readonly trainLength: number;
  /** What the checker opened, and dropped for a reason other than its full socket. */
  readonly opened: number;
  readonly refused: number;
  /** The checker's own: bits it opened over its CPU time. */
  readonly checkerBitsPerCore: number;
}

const TICK_MS = 100;

class Thread<In extends { type: string }> {
  readonly #port: MessagePort;
  readonly ended: Promise<void>;
  #failed: ((error: Error) => void) | undefined;
  readonly #waiting = new Map<string, (report: never) => void>();
  /** Of every type, the last that nobody waited for. */
  readonly #last = new Map<string, In>();

  constructor(pool: Piscina, task: unknown) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    port1.on('message', (report: In) => {
      const waiting = this.#waiting.get(report.type) as ((report: In) => void) | undefined;
      this.#waiting.delete(report.type);
      if (waiting) waiting(report);
      else this.#last.set(report.type, report);
    });
    const end = () => port1.close();
    this.ended = pool.run({ task, port: port2 }, { transferList: [port2] }).then(end, (error: Error) => {
      end();
      this.#failed?.(error);
    });
  }

  say(message: unknown): void {
    this.#port.postMessage(message);
  }

  /** The next report of a type, or one that has come already. */
  hear<T extends In['type']>(type: T, fresh = false): Promise<Extract<In, { type: T }>> {
    const before = this.#last.get(type);
    this.#last.delete(type);
    if (before && !fresh) return Promise.resolve(before as Extract<In, { type: T }>);
    return new Promise((resolve, reject) => {
      this.#waiting.set(type, resolve);
      this.#failed = reject;
    });
  }
}

/** @throws RingwayError LOAD_CALIBRATE when the checker could not open what was sent */
export async function calibrate(scenario: Scenario): Promise<Calibration> {
  const addon = loadAddon();
  const aead = chooseAead(addon, 'auto');
  const pool = new Piscina({
    filename: new URL('../../workers/load.ts', import.meta.url).href,
    minThreads: 2,
    maxThreads: 2,
    concurrentTasksPerWorker: 1,
    atomics: 'disabled',
  });
  try {
    const traffic = optionsOf(scenario);
    const checker = new Thread<CheckerReport>(pool, { role: 'checker', traffic, aead });
    const { portNumber } = await checker.hear('listening');
    const loader = new Thread<LoaderReport>(pool, loaderTask(scenario, traffic, portNumber, aead));
    checker.say({ type: 'keys', keys: (await loader.hear('keys')).keys });
    await checker.hear('installed');
    const before = (await loader.hear('tick', true)).snapshot;
    const start = addon.monotonicMicros() + 10 * MS;
    const stop = start + scenario.duration;
    loader.say({ type: 'go', times: { start, spacing: 0, measureFrom: start, measureTo: stop, stop } });
    let after = before;
    while (after.at < stop) after = (await loader.hear('tick', true)).snapshot;
    checker.say({ type: 'count' });
    const counted = await checker.hear('counted');
    loader.say({ type: 'close' });
    checker.say({ type: 'close' });
    await Promise.all([loader.ended, checker.ended]);
    return assess(before, after, counted, scenario);
  } finally {
    await pool.destroy();
  }
}

type LoaderSnapshot = Extract<LoaderReport, { type: 'tick' }>['snapshot'];

function assess(
  before: LoaderSnapshot,
  after: LoaderSnapshot,
  counted: Extract<CheckerReport, { type: 'counted' }>,
  scenario: Scenario,
): Calibration {
  const { pass, divert, elsewhere, handedOver, ...drops } = counted.verdicts;
  const refused = Object.values(drops).reduce((sum, each) => sum + each, 0);
  if (counted.packets === 0 || refused > 0)
    throw new RingwayError(
      'LOAD_CALIBRATE',
      `the checker opened ${counted.packets} packets and refused ${refused}`,
      'this is a defect of the loader: report it',
    );
  const bits = (after.totals.offeredBytes - before.totals.offeredBytes) * 8;
  const packets = after.totals.offered - before.totals.offered;
  const size = bits / packets;
  return {
    packets,
    bitsPerCore: bits / (after.cpuSeconds - before.cpuSeconds),
    bitsPerSecond: (bits * SECOND) / scenario.duration,
    trainLength: after.port.datagramsOut / Math.max(1, after.port.trainsOut),
    opened: counted.packets,
    refused,
    checkerBitsPerCore: (counted.packets * size) / counted.cpuSeconds,
  };
}

function optionsOf({ clients, flows, burst, sizes }: Scenario): TrafficOptions {
  const fixed = { first: 0, run: 1, form: 'inside' as const, destination: 0x0a630002, portNumber: 5201 };
  return { ...fixed, clients, flows, burst, sizes, window: false, echoEvery: 0 };
}

function loaderTask(
  scenario: Scenario,
  traffic: TrafficOptions,
  portNumber: number,
  aead: LoaderTask['aead'],
): LoaderTask {
  return {
    role: 'loader',
    bare: true,
    scenario,
    clients: scenario.clients,
    traffic,
    address: '127.0.0.1',
    portNumber,
    user: '',
    password: '',
    caCert: '',
    serverName: '',
    aead,
    bufferBytes: 0,
    from: [],
    tickMs: TICK_MS,
  };
}
