/** Leaves the engine's code in its compiled form where src/keeper/compiled.ts says why. Run by bin/setup.sh when a source is newer. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire, enableCompileCache, flushCompileCache, getCompileCacheDir } from 'node:module';
import { basename, join } from 'node:path';
import { COMPILED, SHARED } from '../keeper/compiled.ts';

mkdirSync(COMPILED, { recursive: true });
chmodSync(COMPILED, 0o755);
const fresh = mkdtempSync(join(COMPILED, 'new-'));
enableCompileCache(fresh);
const { resolve } = createRequire(import.meta.url);
const load = createRequire(import.meta.url);
// Modules are kept by the name they were asked for by: an engine is imported, a worker is what piscina requires.
const programs = ['../server/engine.ts', '../client/engine.ts'];
const workers = ['../../workers/shard.ts', '../../workers/crypto.ts'];
for (const program of programs) await import(program).catch(alone);
for (const worker of workers) {
  try {
    load(resolve(worker));
  } catch (error) {
    alone(error as Error);
  }
}
flushCompileCache();

const made = getCompileCacheDir() as string;
chmodSync(made, 0o755);
for (const file of readdirSync(made)) chmodSync(join(made, file), 0o644);
for (const old of readdirSync(COMPILED))
  if (join(COMPILED, old) !== fresh) rmSync(join(COMPILED, old), { recursive: true });
renameSync(made, join(COMPILED, basename(made).replace(/-\d+$/, SHARED)));
rmSync(fresh, { recursive: true });
writeFileSync(join(COMPILED, 'stamp'), '');

/** Without a keeper, or a task, there is nothing to do for them: they have been loaded by then. */
function alone(error: Error & { code?: string }): void {
  if (error.code !== 'ENGINE_ALONE' && !(error instanceof TypeError)) throw error;
}
