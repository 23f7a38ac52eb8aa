/** `ringway calibrate`: which backends carry most on this machine, in a few seconds. */
import { cpus, release as kernel } from 'node:os';
import { Command, CommanderError } from 'commander';
import logUpdate from 'log-update';
import type { Calibration, Measured, Spread } from '../calibrate/measure.ts';
import { calibrate } from '../calibrate/measure.ts';
import { goPrivate, isPrivate } from '../load/self.ts';
import { columns } from '../load/table.ts';
import { parseCount, parseTime } from '../load/units.ts';
import { MS } from '../wire/time.ts';
import { describe, exitCodeOf } from './report.ts';

interface Flags {
  readonly rounds: string;
  readonly duration: string;
  readonly json?: boolean;
}

export function calibrateCommand(): Command {
  return new Command('calibrate')
    .description('measure the backends on this machine and name the best combination (docs/calibrate.md)')
    .option('--rounds <N>', 'each combination is measured so many times; the median counts', '5')
    .option('--duration <TIME>', 'of each measurement', '200ms')
    .option('--json', 'print the result as JSON')
    .action(async (flags: Flags) => {
      process.exit(await run(flags));
    });
}

async function run(flags: Flags): Promise<number> {
  try {
    const rounds = parseCount(flags.rounds, '--rounds', 1, 100);
    const forMs = parseTime(flags.duration, '--duration') / MS;
    if (!isPrivate()) return await goPrivate();
    const isLive = process.stderr.isTTY && !flags.json;
    const show = (done: number, of: number) => {
      if (isLive) logUpdate(`measuring ${done + 1} of ${of}`);
    };
    const result = await calibrate({ rounds, forMs, show });
    if (isLive) logUpdate.clear();
    if (flags.json)
      console.log(JSON.stringify({ format: 'ringway-calibrate', version: 1, machine: machine(), ...result }));
    else print(result, rounds);
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) throw error;
    console.error(describe(error));
    return exitCodeOf(error);
  }
}

const machine = () => `${cpus().length} x ${cpus()[0].model.trim()}, Linux ${kernel()}`;

function print({ measured, absent, flags, isAuto, passedOver }: Calibration, rounds: number): void {
  console.log(`One TCP flow through a tunnel between two namespaces, both ends on this machine (${machine()}).`);
  console.log(`Median of ${rounds} rounds that took turns, and their range; CPU seconds of both shards a GB.\n`);
  const rows = measured.map((each) => [each.flag || 'auto', ...figures(each)]);
  console.log(columns(['combination', '#Gbit/s', '#of auto', '#CPU s/GB'], rows).join('\n'));
  for (const { flag, why } of absent) console.log(`${flag}: not to be had here: ${why}`);
  console.log(`\nbest: ${flags.join(' ')}${isAuto ? ' (what auto takes: no flag is needed)' : ''}`);
  for (const { flag, why } of passedOver) console.log(`not ${flag}: ${why}`);
}

function figures({ gigabits, ratio, cpuPerGb }: Measured): string[] {
  const range = ({ median, low, high }: Spread) => `${median.toFixed(2)} [${low.toFixed(2)}-${high.toFixed(2)}]`;
  return [range(gigabits), range(ratio), range(cpuPerGb)];
}
