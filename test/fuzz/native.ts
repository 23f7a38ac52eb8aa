/** Fuzzing of C++: libFuzzer with AddressSanitizer and UndefinedBehaviorSanitizer around parsers that know nothing of N-API. */
import { execFile, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { corpusFolder } from './script.ts';

const ROOT = join(import.meta.dirname, '../..');
const CACHE = join(ROOT, '.cache/fuzz');
const FLAGS = [
  '-std=c++20',
  '-O1',
  '-g',
  '-fsanitize=fuzzer,address,undefined',
  '-fno-sanitize-recover=undefined',
  '-I',
  join(ROOT, 'native'),
  '-I',
  join(dirname(process.execPath), '../include/node'), // headers name types of N-API; no target calls it
];

/** Sources to link beside the target, from its lines `// link: native/packet/parse.cc native/...`, and libraries (`-lname`). */
function linked(source: string): string[] {
  const words = [...source.matchAll(/^\/\/ link: (.+)$/gm)].flatMap(([, list]) => list.trim().split(/\s+/));
  return words.map((word) => (word.startsWith('-') ? word : join(ROOT, word)));
}

/** Built again only when a file under native/ or the target itself changed. @returns undefined when it does not build */
export async function buildNativeTarget(name: string, path: string): Promise<string | undefined> {
  const hash = createHash('sha256').update(FLAGS.join(' ')).update(readFileSync(path));
  for (const entry of readdirSync(join(ROOT, 'native'), { recursive: true, withFileTypes: true }))
    if (entry.isFile()) hash.update(readFileSync(join(entry.parentPath, entry.name)));
  const program = join(CACHE, `${name}-${hash.digest('hex').slice(0, 16)}`);
  if (existsSync(program)) return program;
  mkdirSync(CACHE, { recursive: true });
  const args = [...FLAGS, path, ...linked(readFileSync(path, 'utf8')), '-o', program];
  try {
    await promisify(execFile)('clang++', args, { maxBuffer: 1 << 24 });
    return program;
  } catch (error) {
    const complaint = (error as { stderr?: string }).stderr;
    const missing = 'clang++ is not installed: run npm test, or install clang and its runtime';
    console.error(`fuzz ${name}: does not build\n${complaint || missing}`);
    return undefined;
  }
}

/** New inputs go to a folder outside git; the corpus in git grows only by hand. */
export async function runNativeTarget(
  name: string,
  built: Promise<string | undefined>,
  seconds: number,
  seed: number,
): Promise<boolean> {
  const program = await built;
  if (program === undefined) return false;
  const found = join(CACHE, 'found', name);
  mkdirSync(found, { recursive: true });
  mkdirSync(corpusFolder(name), { recursive: true });
  const limits = [
    `-max_total_time=${Math.ceil(seconds)}`,
    `-seed=${seed % 2 ** 31}`,
    '-max_len=65536',
    '-timeout=5',
    '-rss_limit_mb=2048',
  ];
  const run = spawnSync(
    program,
    [...limits, `-artifact_prefix=${corpusFolder(name)}/failed-`, '-print_final_stats=1', found, corpusFolder(name)],
    {
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    },
  );
  if (run.status !== 0) {
    console.error(`fuzz ${name}: failed; the input is kept in test/fuzz/corpus/${name}\n${run.stderr}`);
    return false;
  }
  const executed = /stat::number_of_executed_units:\s*(\d+)/.exec(run.stderr)?.[1] ?? 'unknown';
  console.log(`fuzz ${name}: ${executed} inputs in ${seconds} s (libFuzzer, ASan, UBSan)`);
  return true;
}
