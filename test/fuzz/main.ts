/**
 * `npm run fuzz -- [--seconds N] [NAME...]`: every fuzz target for N seconds (default 60), each from its corpus in
 * `test/fuzz/corpus/NAME/`. What a target is, and how to add one: test/fuzz/README.md.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildNativeTarget, runNativeTarget } from './native.ts';
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
/** Its preparation, which begins for all at once, and then its run. */
type Start = () => Promise<boolean>;
const targets = [
  ...named(SCRIPTS, '.fuzz.ts', (name, path) => () => runScriptTarget(name, path, seconds, seed)),
  ...named(PROGRAMS, '.cc', (name, path) => {
    const built = buildNativeTarget(name, path);
    return () => runNativeTarget(name, built, seconds, seed);
  }),
].filter(({ name }) => positionals.length === 0 || positionals.includes(name));

function named(folder: string, ending: string, prepare: (name: string, path: string) => Start) {
  return (existsSync(folder) ? readdirSync(folder) : [])
    .filter((file) => file.endsWith(ending))
    .sort()
    .map((file) => ({
      name: file.slice(0, -ending.length),
      prepare: () => prepare(file.slice(0, -ending.length), join(folder, file)),
    }));
}

if (targets.length === 0) {
  console.error(`no fuzz target ${positionals.join(', ')} in ${SCRIPTS} or ${PROGRAMS}`);
  process.exit(2);
}
let failed = 0;
for (const start of targets.map(({ prepare }) => prepare())) if (!(await start())) failed++;
console.log(`fuzz: ${targets.length - failed} targets held, ${failed} failed (seed ${seed})`);
process.exitCode = failed === 0 ? 0 : 1;
