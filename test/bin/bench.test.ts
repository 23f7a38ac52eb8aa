/** `npm run bench` where it is not told what it can do. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const MAIN = fileURLToPath(new URL('../../bench/main.ts', import.meta.url));
const bench = (...words: string[]) =>
  spawnSync(process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, ...words], { encoding: 'utf8' });

describe('npm run bench', () => {
  it('prints its usage where it is asked for', () => {
    const { status, stdout, stderr } = bench('--help');
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^usage: npm run bench.*\n(.*\n)* {2}--json FILE/);
  });

  it.each([['--nonsense'], ['nonsense'], ['--json', '/nowhere/rows.json']])(
    'ends %s with exit code 2 and its usage, without a stack trace',
    (...words) => {
      const { status, stdout, stderr } = bench(...words);
      expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
      expect(stderr).toContain('\nusage: npm run bench');
      expect(stderr).not.toMatch(/^ +at /m);
    },
  );
});
