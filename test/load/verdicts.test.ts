import { stripVTControlCharacters } from 'node:util';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Look, liveLine, liveScreen } from '../../src/load/live.ts';
import { readResult, resultSchema } from '../../src/load/result.ts';
import {
  curvesOf,
  findPlateau,
  middleGoodput,
  naturalBurst,
  type Point,
  planSweep,
  saturatedStage,
  seeded,
} from '../../src/load/sweep.ts';
import { columns, sideBySide, summaryTable } from '../../src/load/table.ts';
import { judge, METRICS, parseThreshold } from '../../src/load/thresholds.ts';
import { createFolder, type Folder } from '../config/folder.ts';
import { direction, result } from './results.ts';

describe('--fail-if', () => {
  it.each([
    ['loss>0.1%', true],
    ['loss>1%', false],
    ['p99>20ms', false],
    ['p99>100us', true],
    ['p99.9 >= 1us', true],
    ['goodput<2G', false],
    ['goodput<3Gbit/s', true],
    ['fairness<0.95', false],
    ['online<100', false],
    ['unexplained>0', false],
    ['lag>1%', false],
  ])('%s on the sample run: failed = %s', (text, failed) => {
    expect(judge(parseThreshold(text), result()).failed).toBe(failed);
  });

  it('refuses a metric that does not exist, and names those that do', () => {
    expect(() => parseThreshold('p95>20ms')).toThrow('there is no metric p95');
    expect(() => parseThreshold('p95>20ms')).toThrow(
      expect.objectContaining({ code: 'LOAD_USAGE', advice: expect.stringContaining('p99.9') }),
    );
  });

  it.each(['loss', 'loss>', 'loss=1%', 'loss>much', 'p99>20', 'goodput<fast'])('refuses %j', (text) => {
    expect(() => parseThreshold(text)).toThrow(expect.objectContaining({ code: 'LOAD_USAGE' }));
  });

  it('fails where nothing was measured: a run without packets has no p99 and did not pass', () => {
    const empty = result({ uplink: direction({ latency: null }) });
    expect(judge(parseThreshold('p99>20ms'), empty)).toMatchObject({ failed: true, found: 'not measured' });
  });

  it('fails on lag where there was no schedule, or nobody told', () => {
    const unknown = result({ generator: { ...result().generator, lag: null } });
    expect(judge(parseThreshold('lag>1%'), unknown)).toMatchObject({ failed: true, found: 'not measured' });
    expect(summaryTable(unknown, [])).toContain('behind by –');
  });

  it('looks at both ways of a mixed run, and tells the worse one', () => {
    const mixed = result({ downlink: direction({ delivered: 1_000_000 }) });
    expect(judge(parseThreshold('loss>10%'), mixed)).toMatchObject({ failed: true, found: '56.8 %' });
  });

  it('has a value for every metric of the sample run', () => {
    for (const metric of Object.values(METRICS)) expect(metric.values(result()).every(Number.isFinite)).toBe(true);
  });
});

describe('a result', () => {
  let folder: Folder;
  beforeEach(() => {
    folder = createFolder();
  });
  afterEach(() => folder.remove());

  it('is read back as it was written', () => {
    const path = folder.write('run.json', JSON.stringify(result()));
    expect(readResult(path)).toEqual(result());
  });

  it('of another version is refused with what to do', () => {
    const path = folder.write('run.json', JSON.stringify({ ...result(), version: 2 }));
    expect(() => readResult(path)).toThrow(expect.objectContaining({ code: 'LOAD_RESULT' }));
    expect(() => readResult('/nonexistent.json')).toThrow(expect.objectContaining({ code: 'LOAD_RESULT' }));
  });

  it('holds nothing its schema does not name', () => {
    expect(() => resultSchema.parse({ ...result(), extra: 1 })).toThrow(/extra/);
  });
});

const look: Look = {
  phase: 'measuring',
  progress: 0.4,
  seconds: 4.2,
  online: 998,
  wanted: 1000,
  upBits: 2.4e9,
  downBits: null,
  loss: 0.0123,
  p50: 92,
  p99: 480,
  p999: 1500,
  cores: [0.93, 0.2],
  shards: [120_000, 80_000],
  full: 'server CPU',
};

describe('the live display', () => {
  it('says everything in one line where there is no terminal', () => {
    expect(liveLine(look)).toBe(
      [
        '   4.2 s  measuring  998/1000 online  up 2.40 Gbit/s  loss 1.23 %  p50 92.0 µs  p99 480 µs  p99.9 1.50 ms',
        'cpu 93% 20%  shards 120,000/s 80,000/s  full: server CPU',
      ].join('  '),
    );
  });

  it('fits the width of the terminal, whatever that is', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 60, max: 300 }),
        fc.array(fc.double({ min: 0, max: 1e10, noNaN: true })),
        (width, history) => {
          const lines = stripVTControlCharacters(liveScreen('upload', look, history, width)).split('\n');
          expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(width);
        },
      ),
    );
  });
});

describe('the table', () => {
  it('lines up columns, numbers to the right', () => {
    expect(
      columns(
        ['name', '#n'],
        [
          ['a', '5'],
          ['long one', '1,000'],
        ],
      ),
    ).toEqual(['name          n', 'a             5', 'long one  1,000']);
  });

  it('puts several results side by side, each way a row, as text or as Markdown', () => {
    const both = [result(), result({ subject: 'lightway-server', downlink: direction({ delivered: 0 }) })];
    const lines = sideBySide(both, false).split('\n');
    expect(lines.map((line) => line.split('  ')[0].trim())).toEqual([
      '',
      'Ringway 0.1.0, up',
      'lightway-server, up',
      'lightway-server, down',
    ]);
    const cells = sideBySide(both, true)
      .split('\n')
      .map((line) => line.split('|').length);
    expect(new Set(cells)).toEqual(new Set([14]));
  });

  it('says where every packet went, and what is not valid', () => {
    const text = summaryTable(result({ invalid: ['the loader was behind'] }), []);
    for (const part of [
      'delivered',
      'server socket: SO_RXQ_OVFL (estimate)',
      '11,500',
      'unexplained',
      'not valid: the loader',
    ])
      expect(text).toContain(part);
  });
});

const point = (clients: number, goodputBits: number, overrides: Partial<Point> = {}): Point => ({
  clients,
  load: 'below',
  trains: 'fixed',
  offeredBits: 2e9,
  goodputBits,
  p99: 300,
  serverPerGb: 2,
  trainLength: 16,
  loss: 0,
  fairness: 1,
  online: clients,
  valid: true,
  saturated: null,
  ...overrides,
});

describe('a sweep', () => {
  it('visits every point as often as asked, in an order that its seed decides', () => {
    const plan = planSweep([1, 10, 100], 3, seeded(7));
    expect(plan).toHaveLength(3 * 3 * 4);
    expect(plan).toEqual(planSweep([1, 10, 100], 3, seeded(7)));
    expect(plan).not.toEqual(planSweep([1, 10, 100], 3, seeded(8)));
    expect(plan.filter(({ clients }) => clients === 10)).toHaveLength(12);
    expect(plan.map(({ clients }) => clients)).not.toEqual(
      [...plan.map(({ clients }) => clients)].sort((a, b) => a - b),
    );
  });

  it('takes the median of a point, of its valid runs where there are any', () => {
    const [curve] = curvesOf([point(10, 1e9), point(10, 3e9), point(10, 2e9), point(10, 9e9, { valid: false })]);
    expect(curve.points[0]).toMatchObject({ clients: 10, goodputBits: 2e9, runs: 3, range: [1e9, 3e9] });
  });

  it('keeps loads and trains apart', () => {
    const curves = curvesOf([point(1, 1), point(1, 2, { load: 'above' }), point(1, 3, { trains: 'natural' })]);
    expect(curves.map(({ load, trains }) => `${load} ${trains}`)).toEqual([
      'below natural',
      'below fixed',
      'above fixed',
    ]);
  });

  const curve = (last: number, saturated: string | null = null) =>
    curvesOf([
      point(1, 1.9e9),
      point(100, 2e9),
      point(200, 2.1e9),
      point(500, 2e9),
      point(1000, last, { saturated }),
    ])[0];

  it('calls a fall of more than 10 % from the middle a plateau, and names the stage', () => {
    expect(curve(1.79e9, 'server socket').plateau).toEqual({ clients: 1000, ratio: 0.895, stage: 'server socket' });
    expect(curve(1.81e9).plateau).toBeNull();
    expect(findPlateau([])).toBeNull();
    expect(middleGoodput(curve(1e9).points)).toBe(2e9);
  });

  it('has natural trains that get shorter as clients share the load, and never end', () => {
    const bursts = [1, 10, 100, 1000].map((clients) => naturalBurst(clients, 2e9, 1350));
    expect(bursts).toEqual([64, 9, 1, 1]);
  });

  it('names the stage that is full: who is behind, then who lost most, then whose CPU is busy', () => {
    const free = { lag: 0, loaderBusy: 0.3, sinkLag: 0, sinkBusy: 0.2, serverBusy: 0.5, losses: [], machineBusy: 0.5 };
    expect(saturatedStage(free)).toBeNull();
    expect(saturatedStage({ ...free, loaderBusy: 0.95 })).toBe('loader thread');
    expect(saturatedStage({ ...free, lag: 0.02 })).toBe('loader');
    expect(saturatedStage({ ...free, sinkLag: 0.02, losses: [{ where: 'server TUN', packets: 5 }] })).toBe('sink');
    expect(saturatedStage({ ...free, losses: [{ where: 'server TUN', packets: 5 }] })).toBe('server TUN');
    expect(saturatedStage({ ...free, serverBusy: 0.97, losses: [{ where: 'server socket', packets: 5 }] })).toBe(
      'server CPU',
    );
    expect(saturatedStage({ ...free, serverBusy: 0.97 })).toBe('server CPU');
    expect(saturatedStage({ ...free, machineBusy: 0.99 })).toBe('machine CPU');
  });
});
