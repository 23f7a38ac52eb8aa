/** One end's traffic: what `native/load` makes and counts, by name. */
import type { Addon, TrafficHandle } from '../native/index.ts';
import { BUCKETS, type Buckets, noBuckets } from './buckets.ts';

/** The first words of what the addon counts, in its order (`native/load/traffic.h`). Packets and inner bytes, since the traffic was made. */
export const TOTALS = [
  'offered',
  'offeredBytes',
  'measuredOffered',
  'measuredOfferedBytes',
  'delivered', // each packet once
  'deliveredBytes',
  'measuredDelivered',
  'measuredDeliveredBytes',
  'duplicates',
  'reordered',
  'trainsSent',
  'trainsReceived',
  'foreign', // packets that are not of this run
  'acksSent',
  'acksReceived',
  'timeouts',
  'echoesSent',
  'noRoom', // trains that waited for the batch
  'turns', // trains the schedule has gone past
  'hellos',
] as const;
const TOTAL_WORDS = 64;

const COLUMNS = [
  'sent',
  'received',
  'measuredBytes',
  'next',
  'duplicates',
  'reordered',
  'known',
  'online',
  'source',
] as const;
const HISTOGRAMS = ['oneWay', 'roundTrip', 'delay'] as const;

export type Totals = Record<(typeof TOTALS)[number], number>;
export type ClientColumn = (typeof COLUMNS)[number];
export type Histograms = Record<(typeof HISTOGRAMS)[number], Buckets>;

export type TrafficOptions = Parameters<Addon['createTraffic']>[0];

export class Traffic {
  readonly handle: TrafficHandle;
  readonly clients: number;
  readonly #words: BigUint64Array;

  constructor(addon: Addon, options: TrafficOptions) {
    const { handle, buffer } = addon.createTraffic(options);
    this.handle = handle;
    this.clients = options.clients;
    this.#words = new BigUint64Array(buffer);
  }

  total(name: keyof Totals): number {
    return Number(this.#words[TOTALS.indexOf(name)]);
  }

  totals(): Totals {
    return Object.fromEntries(TOTALS.map((name, i) => [name, Number(this.#words[i])])) as Totals;
  }

  set(column: 'online' | 'source', client: number, value: number): void {
    this.#words[this.#at(column) + client] = BigInt(value);
  }

  column(name: ClientColumn): number[] {
    const from = this.#at(name);
    return Array.from(this.#words.subarray(from, from + this.clients), Number);
  }

  histograms(): Histograms {
    const first = TOTAL_WORDS + COLUMNS.length * this.clients;
    const copy = (i: number) => {
      const buckets = noBuckets();
      for (let bucket = 0; bucket < BUCKETS; bucket++)
        buckets[bucket] = Number(this.#words[first + i * BUCKETS + bucket]);
      return buckets;
    };
    return { oneWay: copy(0), roundTrip: copy(1), delay: copy(2) };
  }

  #at(column: ClientColumn): number {
    return TOTAL_WORDS + COLUMNS.indexOf(column) * this.clients;
  }
}

/** What one end has counted so far; plain values, for a message or a line of JSON. */
export interface Snapshot {
  readonly totals: Totals;
  readonly histograms: Histograms;
  readonly port: Readonly<Record<string, number>>;
  /** Verdicts of this end's own datapath. */
  readonly verdicts: Readonly<Record<string, number>>;
  /** When it was taken, by this machine's monotonic clock. */
  readonly at: number;
  /** CPU seconds of the thread that carries packets. */
  readonly cpuSeconds: number;
}

export function noTotals(): Totals {
  return Object.fromEntries(TOTALS.map((name) => [name, 0])) as Totals;
}

export function addTotals(into: Totals, more: Totals): void {
  for (const name of TOTALS) into[name] += more[name];
}
