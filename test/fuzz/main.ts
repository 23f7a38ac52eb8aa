/**
 * `npm run fuzz -- [--seconds N] [NAME...]`: every fuzz target for N seconds (default 60), each from its corpus in
 * `test/fuzz/corpus/NAME/`. What a target is, and how to add one: test/fuzz/README.md.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runNativeTarget } from './native.ts';
import { runScriptTarget } from './script.ts';

const { values, positionals } = parseArgs({
  options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string' } },
  allowPositionals: true,
});
const seconds = Number(values.seconds);
const seed = Number(values.seed ?? Date.now() % 1_000_000_007);
if (!(seconds > 0) || !Number.isInteger(seed)) {
  console.error(`expected --seconds above 0 and a whole --seed but received ${values.seconds} and ${values.seed}`);
  process.exit(2);
}

const SCRIPTS = import.meta.dirname;
const PROGRAMS = join(SCRIPTS, '../../native/fuzz');
const targets = [
  ...named(SCRIPTS, '.fuzz.ts', (name, path) => runScriptTarget(name, path, seconds, seed)),
  ...named(PROGRAMS, '.cc', (name, path) => runNativeTarget(name, path, seconds, seed)),
].filter(({ name }) => positionals.length === 0 || positionals.includes(name));

function named(folder: string, ending: string, start: (name: string, path: string) => Promise<boolean>) {
  return (existsSync(folder) ? readdirSync(folder) : [])
    .filter((file) => file.endsWith(ending))
    .sort()
    .map((file) => ({
      name: file.slice(0, -ending.length),
      start: () => start(file.slice(0, -ending.length), join(folder, file)),
    }));
}

if (targets.length === 0) {
  console.error(`no fuzz target ${positionals.join(', ')} in ${SCRIPTS} or ${PROGRAMS}`);
  process.exit(2);
}
let failed = 0;
for (const { start } of targets) if (!(await start())) failed++;
console.log(`fuzz: ${targets.length - failed} targets held, ${failed} failed (seed ${seed})`);
process.exitCode = failed === 0 ? 0 : 1;
