/**
 * The engine's code as V8 compiles it, TypeScript already stripped: without it every thread of an engine loads Node's own
 * stripper, 8 MB each. Node keeps such code by user, in files that only their owner may read, and an engine may write nowhere: set-up
 * leaves it in a folder of its own (src/cli/precompile.ts), readable by all, and a keeper links that for the user its engine becomes.
 */
import { readdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What NODE_COMPILE_CACHE is to be for an engine. */
export const COMPILED = fileURLToPath(new URL('../../.cache/engine', import.meta.url));
/** Node looks for `VERSION-USER`; set-up leaves `VERSION-shared`. */
export const SHARED = '-shared';

/** An engine of that user can read it from now on, where this process may write there; otherwise it compiles for itself, as after an upgrade without set-up. */
export function shareCompiled(uid: number, folder = COMPILED): void {
  for (const name of shared(folder)) {
    try {
      symlinkSync(name, join(folder, `${name.slice(0, -SHARED.length)}-${uid}`));
    } catch {
      // there already, or a folder of somebody else's: memory is all that it costs
    }
  }
}

function shared(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => name.endsWith(SHARED));
  } catch {
    return []; // never set up
  }
}
