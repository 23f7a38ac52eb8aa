/** Two set-ups, and two builds, in one checkout at the same time. The checkout is a small one: an addon of one function, everything else is the product's. */
import { type ChildProcess, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '../..');
const GYP = `{ 'targets': [{ 'target_name': 'ringway', 'sources': ['native/core/one.cc'] }] }`;
const ONE = `#include <node_api.h>
NAPI_MODULE_INIT() { return exports; }
`;

const COMPILES = `import { mkdirSync, writeFileSync } from 'node:fs';
mkdirSync('.cache/engine', { recursive: true });
writeFileSync('.cache/engine/stamp', '');
`;

let checkout: string;
beforeEach(() => {
  checkout = mkdtempSync(join(tmpdir(), 'ringway-lock-'));
  cpSync(join(ROOT, 'bin'), join(checkout, 'bin'), { recursive: true });
  for (const file of ['package.json', 'package-lock.json']) cpSync(join(ROOT, file), join(checkout, file));
  symlinkSync(join(ROOT, 'node_modules'), join(checkout, 'node_modules'));
  mkdirSync(join(checkout, 'native/core'), { recursive: true });
  writeFileSync(join(checkout, 'native/core/one.cc'), ONE);
  writeFileSync(join(checkout, 'binding.gyp'), GYP);
  for (const folder of ['src/cli', 'workers']) mkdirSync(join(checkout, folder), { recursive: true });
  writeFileSync(join(checkout, 'src/cli/precompile.ts'), COMPILES);
});
afterEach(() => rmSync(checkout, { recursive: true }));

interface Run {
  readonly child: ChildProcess;
  /** Once a line of either stream has this. */
  says(words: string): Promise<void>;
  readonly ended: Promise<{ code: number | null; text: string }>;
}

function run(command: string, ...args: string[]): Run {
  const child = spawn(command, args, { cwd: checkout, stdio: ['pipe', 'pipe', 'pipe'] });
  let text = '';
  let heard = () => {};
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (more: string) => {
      text += more;
      heard();
    });
  const ended = new Promise<{ code: number | null; text: string }>((resolve) =>
    child.once('close', (code) => resolve({ code, text })),
  );
  const says = (words: string) =>
    new Promise<void>((resolve, reject) => {
      heard = () => void (text.includes(words) && resolve());
      heard();
      void ended.then(() => reject(new Error(`ended without "${words}":\n${text}`)));
    });
  return { child, says, ended };
}

/** Somebody who has the lock, and lets go when they are killed. */
async function holder(name: string): Promise<ChildProcess> {
  mkdirSync(join(checkout, '.cache'), { recursive: true });
  const { child, says } = run('flock', `.cache/${name}.lock`, 'sh', '-c', 'echo held; exec cat');
  await says('held');
  return child;
}

const times = (texts: readonly string[], words: string) => texts.join('').split(words).length - 1;

describe.each([
  ['bin/build-native.sh', 'build-release', 'another build of the addon (release) is under way', 'CXX(target)'],
  ['bin/setup.sh', 'setup', 'another set-up is under way', 'building the addon (release)'],
])('%s', (script, name, waiting, building) => {
  it('waits for another and says so; of two that have waited the first builds, the second finds nothing to do', async () => {
    const first = await holder(name);
    const both = [run('sh', script), run('sh', script)];
    await Promise.all(both.map(({ says }) => says(waiting)));
    first.stdin?.end();
    const ends = await Promise.all(both.map(({ ended }) => ended));
    expect(ends.map(({ code }) => code)).toEqual([0, 0]);
    expect(
      times(
        ends.map(({ text }) => text),
        building,
      ),
    ).toBe(1);
    expect(readFileSync(join(checkout, 'build/Release/ringway.built'), 'utf8')).toMatch(/^[0-9a-f]{64} v/);
  });

  it('goes on when whoever it waits for is killed', async () => {
    const first = await holder(name);
    const { says, ended } = run('sh', script);
    await says(waiting);
    first.kill('SIGKILL'); // flock; the program it started has the lock still, and reads the end of its input
    const { code, text } = await ended;
    expect([code, times([text], building)], text).toEqual([0, 1]);
  });

  it('does its work whether or not another runs beside it', async () => {
    const ends = await Promise.all([run('sh', script).ended, run('sh', script).ended]);
    expect(
      ends.map(({ code }) => code),
      ends.map(({ text }) => text).join('\n'),
    ).toEqual([0, 0]);
    expect(
      times(
        ends.map(({ text }) => text),
        building,
      ),
    ).toBe(1);
  });
});
