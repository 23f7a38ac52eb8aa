/** `ringway load sweep`: the scaling curve. */
import type { Command } from 'commander';
import { checkWritable, writeFile } from '../load/files.ts';
import { machine } from '../load/kernel.ts';
import { nameOf, renderSweep } from '../load/report/sweep.ts';
import { MAX_CLIENTS, readScenario } from '../load/scenario.ts';
import { setStage } from '../load/self.ts';
import { type Curve, curvesOf, type Point, planSweep, seeded } from '../load/sweep.ts';
import { measureCapacity, runPoint, type SweepScenario } from '../load/sweep-run.ts';
import { columns } from '../load/table.ts';
import { formatCount, formatRate, formatShare, formatTime, parseCount, parseCounts, parseRate } from '../load/units.ts';
import { release, type SelfFlags, selfOptions } from './load.ts';
import { shownCommand } from './load-password.ts';

export interface SweepFlags extends SelfFlags {
  readonly repeats: string;
  readonly seed: string;
  readonly capacity?: string;
  readonly capacityNatural?: string;
  readonly report?: string;
  readonly json?: string;
}

export function sweepFlags(command: Command): Command {
  return command
    .option('--clients <LIST>', 'numbers of clients', '1,10,50,100,200,500,800,1000')
    .option('--repeats <N>', 'runs of each point; the median counts', '3')
    .option('--seed <N>', 'of the order of the points', '1')
    .option('--capacity <RATE>', 'what the server carries in fixed trains (default: measured first)')
    .option('--capacity-natural <RATE>', 'and in natural ones (default: measured first)')
    .option('--report <FILE>', 'write a report, one HTML file')
    .option('--json <FILE>', 'write all points');
}

/** Inside bin/private.sh. @returns exit code */
export async function sweep(flags: SweepFlags): Promise<number> {
  const clients = parseCounts(flags.clients ?? '', '--clients', 1, MAX_CLIENTS);
  checkWritable('--json', flags.json);
  checkWritable('--report', flags.report);
  const repeats = parseCount(flags.repeats, '--repeats', 1, 100);
  const random = seeded(parseCount(flags.seed, '--seed', 0, 2 ** 31));
  const scenario = readScenario('upload', { duration: '3s', ...flags, clients: String(Math.max(...clients)) });
  const given = (text: string | undefined) => (text === undefined ? undefined : (parseRate(text) ?? undefined));
  const [fixed, natural] = [given(flags.capacity), given(flags.capacityNatural)];
  const transport = ['--transport', scenario.transport, '--expresslane', scenario.expresslane ? 'on' : 'off'];
  const plan: SweepScenario = {
    words: [...transport, '--size', String(scenario.sizes[0]), '--ramp', String(scenario.ramp)],
    size: scenario.sizes[0],
    duration: flags.duration ?? '3s',
    warmup: flags.warmup ?? '1s',
    capacity: { ...(fixed === undefined ? {} : { fixed }), ...(natural === undefined ? {} : { natural }) },
    reference: clients.includes(100) ? 100 : clients[Math.floor(clients.length / 2)],
  };
  process.on('SIGINT', () => {
    stopped = true;
  });
  let stopped = false;
  const stage = await setStage(selfOptions(scenario, flags));
  const points: Point[] = [];
  let planned = 0;
  try {
    const capacity = {
      fixed: await measureCapacity(stage, plan, 'fixed'),
      natural: await measureCapacity(stage, plan, 'natural'),
    };
    console.log(`capacity  ${formatRate(capacity.fixed)} in trains, ${formatRate(capacity.natural)} one by one`);
    const order = planSweep(clients, repeats, random);
    planned = order.length;
    for (const [done, each] of order.entries()) {
      if (stopped) break;
      const point = await runPoint(stage, plan, each, capacity[each.trains]);
      if (stopped) break; // that run ended early
      points.push(point);
      console.log(`${String(done + 1).padStart(4)}/${order.length}  ${describePoint(point)}`);
    }
  } finally {
    await stage.close();
  }
  return conclude(points, flags, {
    repeats: String(repeats),
    runs: points.length < planned ? `${points.length} of ${planned}: ended early` : String(planned),
    'client addresses': flags.addresses,
    ...plan.capacity,
    duration: plan.duration,
    warmup: plan.warmup,
  });
}

function describePoint(point: Point): string {
  const { clients, goodputBits, offeredBits, loss, p99, saturated, valid } = point;
  const late = p99 === null ? '' : `, p99 ${formatTime(p99)}`;
  const words = `${nameOf(point)}, ${formatCount(clients)} clients: ${formatRate(goodputBits)} of ${formatRate(offeredBits)}`;
  return `${words}, loss ${formatShare(loss)}${late}${saturated ? `, full: ${saturated}` : ''}${valid ? '' : ', not valid'}`;
}

function conclude(points: readonly Point[], flags: SweepFlags, configuration: Record<string, string | number>): number {
  const curves = curvesOf(points);
  const texts = Object.fromEntries(Object.entries(configuration).map(([name, value]) => [name, String(value)]));
  if (flags.json !== undefined)
    writeFile(flags.json, `${JSON.stringify({ format: 'ringway-load-sweep', version: 1, points })}\n`);
  if (flags.report !== undefined) {
    const subject = flags.subject ?? flags.serverCommand?.split('/').at(-1) ?? `Ringway ${release()}`;
    const report = {
      title: `Upload, 1 to ${formatCount(Math.max(...points.map(({ clients }) => clients)))} clients`,
      started: new Date().toISOString().replace(/T(.{8}).*/, ' $1Z'),
      subject,
      command: shownCommand(process.argv.slice(2)),
      release: release(),
      curves,
      configuration: texts,
      machine: machine(),
    };
    writeFile(flags.report, renderSweep(report));
  }
  for (const curve of curves) console.log(`\n${curveTable(curve)}`);
  return 0;
}

function curveTable(curve: Curve): string {
  const rows = curve.points.map((point) => [
    formatCount(point.clients),
    formatRate(point.offeredBits),
    formatRate(point.goodputBits),
    formatShare(point.loss),
    point.p99 === null ? '–' : formatTime(point.p99),
    point.serverPerGb?.toFixed(2) ?? '–',
    point.trainLength?.toFixed(1) ?? '–',
    point.fairness.toFixed(3),
    point.saturated ?? '–',
  ]);
  const head = ['#clients', '#offered', '#goodput', '#loss', '#p99', '#CPU s/GB', '#train', '#Jain', 'full'];
  const { plateau } = curve;
  const end = plateau
    ? `plateau: ${formatShare(plateau.ratio)} of the middle at ${formatCount(plateau.clients)} clients; ${plateau.stage}`
    : 'no plateau';
  return [nameOf(curve), ...columns(head, rows), end].join('\n');
}
