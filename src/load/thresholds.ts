/** `--fail-if 'p99>20ms'`: what a run must not be, for CI. A run that is ends with exit code 99, as k6 does. */
import { type Ledger, lossRatio } from './ledger.ts';
import type { DirectionResult, Result } from './result.ts';
import { formatCount, formatRate, formatShare, formatTime, parseRate, parseTime, usage } from './units.ts';

export const THRESHOLD_EXIT = 99;

type Unit = 'share' | 'time' | 'rate' | 'count' | 'number';
interface Metric {
  readonly unit: Unit;
  readonly about: string;
  /** One value a direction, or one for the run; undefined: not measured. */
  readonly values: (result: Result) => (number | undefined)[];
}

const each = (of: (direction: DirectionResult) => number | undefined) => (result: Result) =>
  [result.uplink, result.downlink].filter((direction) => direction !== null).map(of);
const late = (name: 'p50' | 'p90' | 'p99' | 'p999' | 'max' | 'mean') => each(({ latency }) => latency?.[name]);
const ledgerOf = ({ offered, delivered }: DirectionResult): Pick<Ledger, 'offered' | 'delivered'> => ({
  offered,
  delivered,
});

export const METRICS: Readonly<Record<string, Metric>> = {
  loss: { unit: 'share', about: 'packets offered and not delivered', values: each((d) => lossRatio(ledgerOf(d))) },
  unexplained: {
    unit: 'share',
    about: 'packets lost that nobody counted',
    values: each((d) => (d.offered === 0 ? 0 : d.unexplained / d.offered)),
  },
  p50: { unit: 'time', about: 'latency from due time', values: late('p50') },
  p90: { unit: 'time', about: '', values: late('p90') },
  p99: { unit: 'time', about: '', values: late('p99') },
  'p99.9': { unit: 'time', about: '', values: late('p999') },
  mean: { unit: 'time', about: '', values: late('mean') },
  max: { unit: 'time', about: '', values: late('max') },
  goodput: { unit: 'rate', about: 'inner bits per second delivered', values: each((d) => d.goodputBits) },
  fairness: { unit: 'number', about: "Jain's index of the clients' goodput", values: each((d) => d.fairness) },
  reordered: {
    unit: 'share',
    about: 'packets that came after later ones',
    values: each((d) => (d.delivered === 0 ? 0 : d.reordered / d.delivered)),
  },
  online: { unit: 'count', about: 'clients that logged in', values: ({ clients }) => [clients.online] },
  lag: {
    unit: 'share',
    about: 'due trains that loader or sink had not sent',
    values: ({ generator }) => [generator.lag ?? undefined],
  },
};

export interface Threshold {
  readonly text: string;
  readonly metric: string;
  readonly operator: '<' | '>' | '<=' | '>=';
  readonly limit: number;
}

export interface Verdict extends Threshold {
  readonly failed: boolean;
  /** The value furthest on the wrong side, in words. */
  readonly found: string;
}

/** @throws RingwayError LOAD_USAGE: a mistyped metric must not pass in silence */
export function parseThreshold(text: string): Threshold {
  const match = /^\s*([a-z][\w.]*)\s*(<=|>=|<|>)\s*(.+?)\s*$/i.exec(text);
  if (!match) throw usage(`--fail-if ${text} is no comparison`, "write for example --fail-if 'p99>20ms'");
  const [, metric, operator, value] = match;
  const known = METRICS[metric];
  if (!known)
    throw usage(
      `--fail-if ${text}: there is no metric ${metric}`,
      `the metrics are ${Object.keys(METRICS).join(', ')}`,
    );
  return { text, metric, operator: operator as Threshold['operator'], limit: parseLimit(value, known.unit, text) };
}

function parseLimit(value: string, unit: Unit, text: string): number {
  if (unit === 'time') return parseTime(value, `--fail-if ${text}:`);
  if (unit === 'rate') return parseRate(value) ?? Number.POSITIVE_INFINITY;
  const percent = unit === 'share' && value.endsWith('%');
  const number = Number(percent ? value.slice(0, -1) : value);
  if (value === '' || !Number.isFinite(number) || number < 0)
    throw usage(
      `--fail-if ${text}: ${value} is no limit`,
      unit === 'share' ? 'write for example 0.1%' : 'write a number',
    );
  return percent ? number / 100 : number;
}

const COMPARE: Readonly<Record<Threshold['operator'], (a: number, b: number) => boolean>> = {
  '<': (a, b) => a < b,
  '>': (a, b) => a > b,
  '<=': (a, b) => a <= b,
  '>=': (a, b) => a >= b,
};

/** What was not measured fails: a run without a single packet has no p99, and did not pass. */
export function judge(threshold: Threshold, result: Result): Verdict {
  const { metric, operator, limit } = threshold;
  const values = METRICS[metric].values(result);
  const known = values.filter((value) => value !== undefined);
  const worst = operator.startsWith('>') ? Math.max(...known) : Math.min(...known);
  const missing = known.length < values.length || known.length === 0;
  const failed = missing || known.some((value) => COMPARE[operator](value, limit));
  return { ...threshold, failed, found: missing ? 'not measured' : formatMetric(worst, METRICS[metric].unit) };
}

function formatMetric(value: number, unit: Unit): string {
  if (unit === 'share') return formatShare(value);
  if (unit === 'time') return formatTime(value);
  if (unit === 'rate') return formatRate(value);
  return unit === 'count' ? formatCount(value) : value.toFixed(3);
}
