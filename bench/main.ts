/**
 * `npm run bench [-- NAME...]`: the table "How fast" of the vector datapath, or the benchmarks named. `--all` runs those beside the table
 * too, `--quick` each for a second, to see that it works, `--json FILE` writes the rows. Every figure in README and docs was printed by
 * one of these. Those of whole tunnels run in namespaces of their own: as root, or where users may make them.
 */
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { checkWritable } from '../src/load/files.ts';
import { goPrivate, isPrivate } from '../src/load/self.ts';
import { loadAddon } from '../src/native/index.ts';
import { draw, Table } from './table.ts';
import { plan } from './tunnels.ts';

interface Benchmark {
  bench(quick: boolean, table: Table): Promise<void>;
  /** Contenders of bench/rig/rig.py that it compares. */
  readonly contenders?: readonly string[];
}

type Load = () => Promise<Benchmark>;

/** In the order of the table. What each measures stands at the head of its file. */
const TABLE: Readonly<Record<string, Load>> = {
  flow: () => import('./flow.ts'),
  flows: () => import('./flows.ts'),
  offload: () => import('./offload.ts'),
  nodes: () => import('./nodes.ts'),
  dtls: () => import('./dtls.ts'),
  shards: () => import('./shards.ts'),
  steering: () => import('./steering.ts'),
  calls: () => import('./calls.ts'),
  idle: () => import('./idle.ts'),
  top: () => import('./top.ts'),
  allocation: () => import('./allocation.ts'),
};

const BESIDE: Readonly<Record<string, Load>> = {
  aead: () => import('./aead.ts'),
  attack: () => import('./attack.ts'),
  fairness: () => import('./fairness.ts'),
  gather: () => import('./gather.ts'),
  handshakes: () => import('./handshakes.ts'),
  memory: () => import('./memory.ts'),
  pacing: () => import('./pacing.ts'),
  rest: () => import('./rest.ts'),
  stages: () => import('./stages.ts'),
  turns: () => import('./turns.ts'),
};

/** What needs no namespaces. */
const IN_MEMORY = ['aead', 'allocation', 'handshakes', 'memory', 'nodes', 'shards', 'stages'];

const BENCHMARKS = { ...TABLE, ...BESIDE };
const USAGE_EXIT = 2;
const USAGE = `usage: npm run bench [-- [NAME...] [--all] [--quick] [--json FILE]]

  NAME         of the table (all of it by default): ${Object.keys(TABLE).join(' ')}
               or beside it: ${Object.keys(BESIDE).join(' ')}
  --all        those beside the table, too
  --quick      each for a second, to see that it works
  --json FILE  write the rows`;

function words() {
  const options = { quick: { type: 'boolean' }, all: { type: 'boolean' }, json: { type: 'string' } } as const;
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { ...options, help: { type: 'boolean', short: 'h' } },
  });
  const unknown = positionals.filter((name) => !(name in BENCHMARKS));
  if (unknown.length > 0) throw new Error(`no benchmark ${unknown.join(', ')}`);
  checkWritable('--json', values.json);
  return { ...values, positionals };
}

async function main(): Promise<number> {
  let given: ReturnType<typeof words>;
  try {
    given = words();
  } catch (error) {
    console.error(`${(error as Error).message}\n${USAGE}`);
    return USAGE_EXIT;
  }
  const { quick = false, all = false, help = false, json, positionals } = given;
  if (help) {
    console.log(USAGE);
    return 0;
  }
  const names = positionals.length > 0 ? positionals : Object.keys(all ? BENCHMARKS : TABLE);
  if (!isPrivate() && names.some((name) => !IN_MEMORY.includes(name))) return goPrivate();

  const remark = quick ? 'quick: not a measurement' : '';
  const [cpu] = cpus();
  const machine = `node ${process.version}, ${cpus().length} x ${cpu.model.trim()}, ${loadAddon().about().cpu.join(' ')}`;
  console.log(`${machine}${quick ? `, ${remark}` : ''}`);
  const table = new Table();
  const benchmarks = await Promise.all(names.map((name) => BENCHMARKS[name]()));
  for (const { contenders = [] } of benchmarks) plan(contenders);
  const failed: string[] = [];
  for (const [i, { bench }] of benchmarks.entries()) {
    console.log(`\n[${i + 1}/${names.length}] ${names[i]}`);
    try {
      await bench(quick, table);
    } catch (error) {
      failed.push(names[i]);
      console.error(error);
    }
  }
  for (const name of failed) table.miss('Failed', name, 'see above');
  if (table.rows.length > 0) console.log(draw(table, process.stdout.isTTY, remark));
  if (json !== undefined)
    writeFileSync(json, `${JSON.stringify({ machine, quick, rows: table.json() }, undefined, 1)}\n`);
  return failed.length > 0 ? 1 : 0;
}

process.exit(await main());
