import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { COMPILED, shareCompiled } from '../../src/keeper/compiled.ts';

const ROOT = join(import.meta.dirname, '../..');
const NODE = join(ROOT, 'bin/node');

describe('what the engine finds compiled', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'ringway-compiled-'));
  });
  afterEach(() => rmSync(folder, { recursive: true }));

  it('is linked for the user it becomes, once for each version of Node', () => {
    for (const name of ['v24-x64-aa-shared', 'v26-x64-bb-shared', 'new-k3']) mkdirSync(join(folder, name));
    shareCompiled(65534, folder);
    shareCompiled(65534, folder);
    shareCompiled(1000, folder);
    const links = readdirSync(folder).filter((name) => /-\d+$/.test(name));
    expect(links.map((name) => [name, readlinkSync(join(folder, name))])).toEqual([
      ['v24-x64-aa-1000', 'v24-x64-aa-shared'],
      ['v24-x64-aa-65534', 'v24-x64-aa-shared'],
      ['v26-x64-bb-1000', 'v26-x64-bb-shared'],
      ['v26-x64-bb-65534', 'v26-x64-bb-shared'],
    ]);
  });

  it('is done without where there is none', () => {
    expect(() => shareCompiled(65534, join(folder, 'absent'))).not.toThrow();
  });

  it('is every module of its threads, for a user who may write nowhere', () => {
    execFileSync(NODE, ['--disable-warning=ExperimentalWarning', 'src/cli/precompile.ts'], { cwd: ROOT });
    const nobody = { uid: 65534, gid: 65534 };
    const isReadable = spawnSync('test', ['-r', join(ROOT, 'package.json')], nobody).status === 0; // and this is root
    const how: { uid?: number; gid?: number } = isReadable ? nobody : {};
    shareCompiled(how.uid ?? process.geteuid?.() ?? 0);
    for (const program of ['src/server/engine.ts', 'src/client/engine.ts', 'workers/shard.ts', 'workers/crypto.ts']) {
      // as piscina asks for a worker; an engine is started
      const args = program.startsWith('src') ? [program] : ['-e', `require('./${program}')`];
      const env = { ...process.env, NODE_COMPILE_CACHE: COMPILED, NODE_DEBUG_NATIVE: 'COMPILE_CACHE' };
      const { stdout, stderr } = spawnSync(NODE, args, { cwd: ROOT, env, encoding: 'utf8', ...how });
      const said = `${stdout}${stderr}`.split('\n');
      expect(said.filter((line) => line.startsWith('[compile cache] no transpile cache'))).toEqual([]);
      expect(
        said.filter((line) => line.startsWith('[compile cache] retrieving transpile cache')).length,
      ).toBeGreaterThan(10);
    }
  });
});
