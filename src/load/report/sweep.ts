/** The report of a sweep: the scaling curves, what they cost, and where they end. */
import { type Curve, FALL, FIXED_BURST, LOADS } from '../sweep.ts';
import { formatCount, formatRate, formatShare, formatTime } from '../units.ts';
import { type Chart, chartSection, keys, page, pair, safe, table } from './html.ts';

export interface SweepReport {
  readonly title: string;
  readonly started: string;
  readonly subject: string;
  readonly command: string;
  readonly release: string;
  readonly curves: readonly Curve[];
  readonly configuration: Readonly<Record<string, string>>;
  readonly machine: Readonly<Record<string, string>>;
}

const COLOURS: Readonly<Record<string, string>> = {
  'below natural': '--up',
  'below fixed': '--third',
  'above natural': '--down',
  'above fixed': '--fourth',
};

export function nameOf({ load, trains }: Pick<Curve, 'load' | 'trains'>): string {
  return `${trains === 'fixed' ? `trains of ${FIXED_BURST}` : 'natural trains'}, ${LOADS[load]} ×`;
}

export function renderSweep(report: SweepReport): string {
  const { curves } = report;
  const charts = [
    curveChart(
      curves,
      'goodput',
      'Goodput',
      'Median of the runs of each point, against the number of clients.',
      'rate',
      (p) => p.goodputBits,
    ),
    curveChart(curves, 'p99', '99th percentile of latency', 'From due time.', 'time', (p) => p.p99, true),
    curveChart(curves, 'cost', 'Server CPU', 'Seconds of CPU for every GB carried.', 'count', (p) => p.serverPerGb),
    curveChart(
      curves,
      'trains',
      'Train length',
      'Packets to one system call, as they arrived at the sink.',
      'count',
      (p) => p.trainLength,
    ),
  ];
  const [goodput, p99, cost, trains] = charts.map(chartSection);
  const body = [
    `<header><h1>${safe(report.title)}</h1><p class="soft">${safe(report.subject)} · ${safe(report.started)}</p>
<div class="chips">${curves.map(chip).join('')}</div></header>`,
    goodput,
    pair(p99, cost),
    trains,
    `<section><h2>Points</h2>${pointTable(curves)}</section>`,
    pair(keys('Configuration', report.configuration), keys('Machine', report.machine)),
    `<section><h2>Command</h2><pre>${safe(report.command)}</pre></section>`,
    `<footer>Made by ringway load sweep ${safe(report.release)}.</footer>`,
  ];
  return page(report.title, body.join('\n'), charts);
}

function chip(curve: Curve): string {
  const { plateau } = curve;
  const text = plateau
    ? `${nameOf(curve)}: falls to ${formatShare(plateau.ratio)} at ${formatCount(plateau.clients)} clients (${plateau.stage})`
    : `${nameOf(curve)}: no fall of more than ${formatShare(FALL)}`;
  return `<span class="chip ${plateau ? 'bad' : 'good'}">${safe(text)}</span>`;
}

function curveChart(
  curves: readonly Curve[],
  id: string,
  title: string,
  note: string,
  y: Chart['y'],
  read: (point: Curve['points'][number]) => number | null,
  logY = false,
): Chart {
  const counts = [...new Set(curves.flatMap(({ points }) => points.map(({ clients }) => clients)))].sort(
    (a, b) => a - b,
  );
  return {
    id,
    title,
    note,
    x: 'decades',
    xLabel: 'Clients',
    y,
    logY,
    splits: counts.filter((count) => Number.isInteger(Math.log10(count)) || count === counts.at(-1)).map(Math.log10),
    series: curves.map((curve) => ({
      label: nameOf(curve),
      colour: COLOURS[`${curve.load} ${curve.trains}`],
      dash: curve.trains === 'natural',
      points: true,
    })),
    columns: [
      counts.map(Math.log10),
      ...curves.map(({ points }) =>
        counts.map((count) => {
          const point = points.find(({ clients }) => clients === count);
          return point ? read(point) : null;
        }),
      ),
    ],
  };
}

function pointTable(curves: readonly Curve[]): string {
  const rows = curves.flatMap((curve) =>
    curve.points.map((point) => [
      nameOf(curve),
      formatCount(point.clients),
      formatRate(point.offeredBits),
      formatRate(point.goodputBits),
      `${formatRate(point.range[0])} – ${formatRate(point.range[1])}`,
      formatShare(point.loss),
      point.p99 === null ? '–' : formatTime(point.p99),
      point.serverPerGb === null ? '–' : point.serverPerGb.toFixed(2),
      point.trainLength === null ? '–' : point.trainLength.toFixed(1),
      point.fairness.toFixed(3),
      String(point.runs),
    ]),
  );
  const columns = [
    'Series',
    '#Clients',
    '#Offered',
    '#Goodput',
    '#Range',
    '#Loss',
    '#p99',
    '#CPU s/GB',
    '#Train',
    '#Jain',
    '#Runs',
  ];
  return table(columns, rows);
}
