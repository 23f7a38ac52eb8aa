/**
 * `npm test`: every stage in turn, cheap ones first, all of them even when one fails; then one table and one line with the
 * sums. `node test/all.ts STAGE...` runs only the stages named.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

interface Stage {
  readonly name: string;
  readonly script: string;
  readonly args?: readonly string[];
  /** A vitest run counts its tests; anything else counts as one. */
  readonly vitest: boolean;
}

const STAGES: readonly Stage[] = [
  { name: 'lint', script: 'lint', vitest: false },
  { name: 'types', script: 'types', vitest: false },
  { name: 'unit', script: 'test:unit', vitest: true },
  { name: 'native', script: 'test:native', vitest: true },
  { name: 'fuzz', script: 'fuzz', args: ['--seconds', '4'], vitest: false },
  { name: 'netns', script: 'test:netns', vitest: true },
  { name: 'stock', script: 'test:stock', vitest: true },
];

interface Outcome {
  readonly name: string;
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
}

/** The part of vitest's JSON report that is read here. */
interface VitestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly numFailedTestSuites: number;
}

function run(stage: Stage, reportFolder: string): Outcome {
  console.log(`\n== ${stage.name}: npm run ${stage.script} ==`);
  const report = join(reportFolder, `${stage.name}.json`);
  const reporters = stage.vitest ? ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`] : [];
  const start = performance.now();
  const { status } = spawnSync('npm', ['run', '--silent', stage.script, '--', ...reporters, ...(stage.args ?? [])], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const seconds = (performance.now() - start) / 1000;
  if (!stage.vitest || !existsSync(report))
    return { name: stage.name, passed: status === 0 ? 1 : 0, failed: status === 0 ? 0 : 1, skipped: 0, seconds };
  const counts = JSON.parse(readFileSync(report, 'utf8')) as VitestReport;
  // a file that does not load, or a run that ends badly, fails without a failed test
  const failed = Math.max(counts.numFailedTests, status === 0 ? 0 : 1);
  const skipped = counts.numPendingTests + counts.numTodoTests;
  return { name: stage.name, passed: counts.numPassedTests, failed, skipped, seconds };
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !STAGES.some((stage) => stage.name === name));
if (unknown.length > 0) {
  console.error(
    `expected stages out of ${STAGES.map((stage) => stage.name).join(', ')} but received ${unknown.join(', ')}`,
  );
  process.exit(2);
}
const reportFolder = mkdtempSync(join(tmpdir(), 'ringway-test-'));
const chosen = STAGES.filter((stage) => wanted.length === 0 || wanted.includes(stage.name));
const outcomes = chosen.map((stage) => run(stage, reportFolder));
rmSync(reportFolder, { recursive: true });

const sum = (figure: 'passed' | 'failed' | 'skipped') =>
  outcomes.reduce((total, outcome) => total + outcome[figure], 0);
console.log('\nstage      passed  failed  skipped   seconds');
for (const { name, passed, failed, skipped, seconds } of outcomes) {
  const figures = [passed, failed, skipped].map((figure) => String(figure).padStart(7)).join(' ');
  console.log(`${name.padEnd(9)} ${figures}   ${seconds.toFixed(1).padStart(7)}`);
}
console.log(`\n${sum('passed')} passed, ${sum('failed')} failed, ${sum('skipped')} skipped`);
process.exitCode = sum('failed') === 0 ? 0 : 1;
