/**
 * Whole tunnels side by side: what bench/rig/rig.py carries through them, for the benchmarks that compare contenders of the rig. Those that
 * run together share one run of it, so that each pair stands within one round.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { progress } from './progress.ts';
import type { Table } from './table.ts';

const RIG = fileURLToPath(new URL('rig/rig.py', import.meta.url));
/** What one load carried. Seconds of CPU time a GB. */
export interface Load {
  readonly gbps: number;
  readonly srv_cpu_per_gb: number;
  readonly machine_cpu_per_gb: number;
  readonly ping_p50_us: number | null;
}

export const DIRECTIONS = ['up', 'down'] as const;
export type Direction = (typeof DIRECTIONS)[number];
const ROUNDS = 7;
const SECONDS = 2;
const PINGS = 50;

type Rounds = ReadonlyMap<string, readonly (Load | null)[]>;

/** As they shall follow each other in a round: pairs close together, one flow and eight of them through one tunnel. */
const ORDER = ['limit', 'ringway', 'ringway/8', 'ringway-dtls', 'limit-nogso', 'ringway-nooffload'];

const planned = new Set<string>();
let running: Promise<Rounds> | undefined;

/** Says which contenders will be asked for, before the first is. */
export function plan(contenders: readonly string[]): void {
  for (const name of contenders) planned.add(name);
}

export interface Pair {
  readonly contender: string;
  readonly against: string;
  readonly direction: Direction;
  readonly key: keyof Load;
}

/** @returns contender / against, round by round, of rounds in which both ran */
export async function ratios({ contender, against, direction, key }: Pair, quick: boolean): Promise<number[]> {
  running ??= runRig(quick);
  const rounds = await running;
  const [left, right] = [contender, against].map((name) => rounds.get(`${direction} ${name}`) ?? []);
  return left.flatMap((load, i) => {
    const [a, b] = [load?.[key], right[i]?.[key]];
    return typeof a === 'number' && typeof b === 'number' && b > 0 ? [a / b] : [];
  });
}

/** What the table takes of a pair, in each direction. */
export async function compare(
  table: Table,
  quick: boolean,
  group: string,
  pair: Omit<Pair, 'direction'> & {
    readonly what: string;
    readonly sense: 'at least' | 'at most';
    readonly bound: number;
  },
): Promise<void> {
  const { what, sense, bound } = pair;
  for (const direction of DIRECTIONS)
    table.add(
      { group, what: `${what}, ${direction}`, sense, bound, unit: '×' },
      await ratios({ ...pair, direction }, quick),
    );
}

async function runRig(quick: boolean): Promise<Rounds> {
  const file = join(process.env.RIG_TMP ?? '/tmp', `rig-${process.pid}.json`);
  const words = ['--rounds', quick ? '1' : String(ROUNDS), '--secs', quick ? '1' : String(SECONDS)];
  const args = [
    RIG,
    ...words,
    '--pings',
    quick ? '10' : String(PINGS),
    '--json',
    file,
    ...ORDER.filter((name) => planned.has(name)),
  ];
  const rig = spawn('python3', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const complaints: string[] = [];
  const table: string[] = [];
  createInterface({ input: rig.stdout }).on('line', (line) => table.push(line));
  createInterface({ input: rig.stderr }).on('line', (line) => {
    if (line.startsWith('round ')) progress.show(line);
    else complaints.push(line);
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    rig.once('error', reject);
    rig.once('close', resolve);
  });
  progress.clear();
  for (const line of [...table, ...complaints]) console.log(`  ${line}`);
  if (code !== 0) throw new Error(`bench/rig/rig.py: exit code ${code}: ${complaints.slice(-3).join(' ')}`);
  const rows = JSON.parse(readFileSync(file, 'utf8')) as { dir: string; name: string; rounds: (Load | null)[] }[];
  return new Map(rows.map(({ dir, name, rounds }) => [`${dir} ${name}`, rounds]));
}
