/**
 * `npm run bench [-- NAME...]`: all benchmarks, or those named; `--quick` runs each for a second, to see that it works. Every figure in
 * README and docs was printed by one of these.
 */
import { cpus } from 'node:os';

/** What each measures stands at the head of its file. */
const BENCHMARKS: Record<string, () => Promise<{ bench(quick: boolean): Promise<void> }>> = {
  aead: () => import('./aead.ts'),
  attack: () => import('./attack.ts'),
  handshakes: () => import('./handshakes.ts'),
  memory: () => import('./memory.ts'),
  nodes: () => import('./nodes.ts'),
  pacing: () => import('./pacing.ts'),
  rest: () => import('./rest.ts'),
  stages: () => import('./stages.ts'),
  turns: () => import('./turns.ts'),
};

const args = process.argv.slice(2);
const quick = args.includes('--quick');
const names = args.filter((arg) => !arg.startsWith('-'));
const unknown = names.filter((name) => !(name in BENCHMARKS));
if (unknown.length > 0) {
  console.error(`no benchmark ${unknown.join(', ')}; there are: ${Object.keys(BENCHMARKS).join(', ')}`);
  process.exit(2);
}

const [cpu] = cpus();
console.log(
  `node ${process.version}, ${cpus().length} x ${cpu.model.trim()}${quick ? ', quick: not a measurement' : ''}`,
);
for (const name of names.length > 0 ? names : Object.keys(BENCHMARKS)) await (await BENCHMARKS[name]()).bench(quick);
