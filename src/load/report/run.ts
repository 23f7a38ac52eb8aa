/** The report of one run, on its own or laid over an older one. */
import { distribution } from '../buckets.ts';
import { lossRatio } from '../ledger.ts';
import type { DirectionResult, Result } from '../result.ts';
import { describeScenario } from '../scenario.ts';
import type { Verdict } from '../thresholds.ts';
import { formatCount, formatRate, formatShare, formatTime } from '../units.ts';
import { type Chart, type ChartSeries, chartSection, keys, page, pair, safe, type Tile, table, tiles } from './html.ts';

export interface RunReport {
  readonly result: Result;
  readonly verdicts: readonly Verdict[];
  readonly older: Result | undefined;
}

type Way = 'uplink' | 'downlink';
const WAYS: readonly (readonly [Way, string, string])[] = [
  ['uplink', 'up', '--up'],
  ['downlink', 'down', '--down'],
];

export function renderRun({ result, verdicts, older }: RunReport): string {
  const charts = [goodputChart, distributionChart, latencyChart, coresChart, trainChart, fairnessChart].map((make) =>
    make(result, older),
  );
  const [goodput, spread, latency, cores, trains, fairness] = charts.map(chartSection);
  const body = [
    heading(result, verdicts, older),
    tiles(tilesOf(result, older)),
    goodput,
    pair(spread, latency),
    ledgerSection(result),
    pair(cores, trains),
    fairness,
    shardSection(result),
    pair(keys('Configuration', result.configuration), keys('Machine', result.machine)),
    `<section><h2>Command</h2><pre>${safe(result.command)}</pre></section>`,
    `<footer>Made by ringway load ${safe(result.release)}. Latency counts from the moment a packet was due, not from when it was sent.</footer>`,
  ];
  return page(result.title, body.join('\n'), charts);
}

function heading(result: Result, verdicts: readonly Verdict[], older: Result | undefined): string {
  const chips = [
    result.invalid.length === 0 ? ['good', 'valid run'] : ['bad', 'not valid'],
    ...result.invalid.map((why) => ['warn', why]),
    ...(result.endedEarly ? [['warn', 'ended early']] : []),
    ...verdicts.map(({ text, failed, found }) => [failed ? 'bad' : 'good', `${failed ? '✗' : '✓'} ${text}: ${found}`]),
  ].map(([kind, text]) => `<span class="chip ${kind}">${safe(text)}</span>`);
  const compared = older ? `<p class="soft">Dashed: ${safe(older.title)}, ${safe(older.started)}</p>` : '';
  return `<header><h1>${safe(result.title)}</h1>
<p>${safe(describeScenario(result.scenario))}</p>
<p class="soft">${safe(result.subject)} · ${safe(result.started)} · ${result.measuredSeconds.toFixed(1)} s measured</p>
${compared}<div class="chips">${chips.join('')}</div></header>`;
}

function tilesOf(result: Result, older: Result | undefined): Tile[] {
  const made: Tile[] = [];
  const add = (name: string, of: (each: Result) => string | undefined) => {
    const value = of(result);
    if (value === undefined) return;
    const was = older && of(older);
    made.push({ name, value, ...(was === undefined ? {} : { was }) });
  };
  for (const [way, word] of WAYS) {
    const both = result.uplink !== null && result.downlink !== null;
    const named = (name: string) => (both ? `${name} ${word}` : name);
    const of = (read: (direction: DirectionResult) => string | undefined) => (each: Result) =>
      each[way] ? read(each[way]) : undefined;
    add(
      named('Goodput'),
      of((d) => formatRate(d.goodputBits)),
    );
    add(
      named('Offered'),
      of((d) => formatRate(d.offeredBits)),
    );
    add(
      named('Loss'),
      of((d) => formatShare(lossRatio(d))),
    );
    add(
      named('p50'),
      of((d) => (d.latency ? formatTime(d.latency.p50) : undefined)),
    );
    add(
      named('p99'),
      of((d) => (d.latency ? formatTime(d.latency.p99) : undefined)),
    );
    add(
      named('p99.9'),
      of((d) => (d.latency ? formatTime(d.latency.p999) : undefined)),
    );
    add(
      named('Fairness (Jain)'),
      of((d) => d.fairness.toFixed(4)),
    );
  }
  add('Clients online', ({ clients }) => `${formatCount(clients.online)} of ${formatCount(clients.wanted)}`);
  add('Server CPU', ({ cpu }) => (cpu.serverPerGb === null ? undefined : `${cpu.serverPerGb.toFixed(2)} s/GB`));
  return made;
}

interface Line extends ChartSeries {
  readonly at: readonly number[];
  readonly values: readonly (number | null)[];
}

/** Lines with x values of their own onto one x column: what uPlot wants. */
function align(lines: readonly Line[]): Pick<Chart, 'series' | 'columns'> {
  const x = [...new Set(lines.flatMap(({ at }) => [...at]))].sort((a, b) => a - b);
  const place = new Map(x.map((value, index) => [value, index]));
  const columns = lines.map(({ at, values }) => {
    const column: (number | null)[] = new Array(x.length).fill(null);
    at.forEach((value, i) => {
      column[place.get(value) as number] = values[i];
    });
    return column;
  });
  const series = lines.map(({ at: _, values: __, ...rest }) => rest);
  return { series, columns: [x, ...columns] };
}

type Make = (result: Result, older: Result | undefined) => Chart;

/** The lines of a run, and the same of the older one, dashed. */
function overlay(result: Result, older: Result | undefined, lines: (each: Result) => Line[]) {
  const before = older
    ? lines(older).map((line) => ({ ...line, label: `${line.label}, before`, dash: true, fill: false }))
    : [];
  return align([...lines(result), ...before]);
}

const goodputChart: Make = (result, older) => ({
  id: 'goodput',
  title: 'Goodput over time',
  note: 'Inner bits per second that arrived behind the tunnel; the thin line is what was offered.',
  x: 'seconds',
  xLabel: 'Time',
  y: 'rate',
  ...overlay(result, older, (each) =>
    WAYS.flatMap(([way, word, colour]) => {
      if (each[way] === null) return [];
      const { at } = each.series;
      const values = way === 'uplink' ? each.series.upBits : each.series.downBits;
      const offered = {
        label: `offered ${word}`,
        colour: '--soft',
        at,
        values: at.map(() => each[way]?.offeredBits ?? null),
      };
      return [{ label: `goodput ${word}`, colour, fill: true, at, values }, offered];
    }),
  ),
});

const distributionChart: Make = (result, older) => {
  const nines = [0, 1, 2, 3, 4, 5];
  return {
    id: 'distribution',
    title: 'Latency distribution',
    note: kindNote(result),
    x: 'nines',
    xLabel: 'Share',
    y: 'time',
    logY: true,
    splits: nines,
    ...overlay(result, older, (each) =>
      WAYS.flatMap(([way, word, colour]) => {
        const hdr = each[way]?.latency?.hdr;
        if (hdr === undefined) return [];
        const points = distribution(hdr);
        return [
          {
            label: `latency ${word}`,
            colour,
            at: points.map((_, i) => i / 20),
            values: points.map(([, us]) => Math.max(us, 0.001)),
          },
        ];
      }),
    ),
  };
};

function kindNote(result: Result): string {
  const kind = (result.uplink ?? result.downlink)?.latencyKind ?? 'one-way';
  return `From due time, ${kind}; every step to the right is a tenth of what is left.`;
}

const latencyChart: Make = (result, older) => ({
  id: 'latency',
  title: 'Latency over time',
  note: 'Median and 99th percentile of each interval.',
  x: 'seconds',
  xLabel: 'Time',
  y: 'time',
  logY: true,
  ...overlay(result, older, ({ series }) => [
    { label: 'p50', colour: '--third', at: series.at, values: series.p50 },
    { label: 'p99', colour: '--fourth', at: series.at, values: series.p99 },
  ]),
});

const CORE_COLOURS = ['--up', '--down', '--third', '--fourth', '--good', '--bad', '--warn', '--soft'];

const coresChart: Make = (result, older) => ({
  id: 'cores',
  title: 'CPU by core',
  note: 'Busy share of each core of this machine, whoever used it.',
  x: 'seconds',
  xLabel: 'Time',
  y: 'share',
  top: 1.05,
  ...overlay(result, older, ({ series }) =>
    series.cores.map((values, core) => ({
      label: `core ${core}`,
      colour: CORE_COLOURS[core % CORE_COLOURS.length],
      at: series.at,
      values,
    })),
  ),
});

const trainChart: Make = (result, older) => ({
  id: 'trains',
  title: 'Train length',
  note: 'Packets to one system call, as they arrived: the shorter, the dearer.',
  x: 'seconds',
  xLabel: 'Time',
  y: 'count',
  ...overlay(result, older, ({ series }) => [
    { label: 'packets a train', colour: '--third', at: series.at, values: series.train },
  ]),
});

const fairnessChart: Make = (result, older) => ({
  id: 'fairness',
  title: 'Fairness',
  note: `Goodput of every client, from the least to the most. Jain's index is 1 when all get the same.`,
  x: 'count',
  xLabel: 'Client',
  y: 'rate',
  ...overlay(result, older, (each) =>
    WAYS.flatMap(([way, word, colour]) => {
      const bits = each[way]?.clientBits;
      if (!bits) return [];
      const sorted = [...bits].sort((a, b) => a - b);
      return [
        {
          label: `client ${word}`,
          colour,
          points: sorted.length < 40,
          at: sorted.map((_, i) => i + 1),
          values: sorted,
        },
      ];
    }),
  ),
});

function ledgerSection(result: Result): string {
  const rows = WAYS.flatMap(([way, word]) => {
    const direction = result[way];
    if (!direction) return [];
    const { offered, delivered, losses, unexplained } = direction;
    const bar = (packets: number, bad: boolean) => {
      const width = offered === 0 ? 0 : (packets / offered) * 100;
      return packets === 0 ? '' : `<span class="bar${bad ? ' bad' : ''}" style="width:${width.toFixed(3)}%"></span>`;
    };
    const line = (what: string, packets: number, bad: boolean) => [
      word,
      safe(what),
      formatCount(packets),
      formatShare(offered === 0 ? 0 : packets / offered),
      bar(packets, bad),
    ];
    return [
      line('offered', offered, false),
      line('delivered', delivered, false),
      ...losses.map(({ where, reason, packets, estimated }) =>
        line(`${where}: ${reason}${estimated ? ' (trains × their length)' : ''}`, packets, true),
      ),
      line('unexplained', unexplained, true),
    ];
  });
  return `<section><h2>Where the packets went</h2>
<p class="soft small">Every packet that was offered, warm-up included: delivered, counted by whoever lost it, or unexplained.</p>
${table(['Way', 'What became of it', '#Packets', '#Share', ' '], rows, true)}</section>`;
}

function shardSection({ shards }: Result): string {
  if (shards.length === 0) return '';
  const names = [...new Set(shards.flatMap((shard) => Object.keys(shard)))];
  const rows = names
    .map((name) => [name, ...shards.map((shard) => formatCount(shard[name] ?? 0))])
    .filter((row) => row.slice(1).some((value) => value !== '0'));
  return `<section><h2>Load per shard</h2><p class="soft small">The server's own counters over this run.</p>
${table(['Counter', ...shards.map((_, i) => `#Shard ${i}`)], rows)}</section>`;
}
