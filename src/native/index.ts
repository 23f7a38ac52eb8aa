/**
 * The one place that loads the addon. `RINGWAY_ADDON` names another build (sanitizers); otherwise it is the Release build
 * of this checkout. What the addon offers is written in `native/addon.d.ts`.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isMainThread } from 'node:worker_threads';
import type { Addon } from '../../native/addon.d.ts';
import { RingwayError } from '../errors.ts';

export type * from '../../native/addon.d.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const DEFAULT_PATH = join(ROOT, 'build/Release/ringway.node');
const SET_UP = `run: cd ${ROOT} && npm run setup`;

let loaded: Addon | undefined;

/** @throws RingwayError ADDON_MISSING, ADDON_STALE with what to run */
export function loadAddon(): Addon {
  if (loaded) return loaded;
  const path = addonPath();
  if (isMainThread) checkBuild(path); // for all threads: it takes a millisecond
  try {
    loaded = createRequire(import.meta.url)(path) as Addon;
    return loaded;
  } catch (cause) {
    throw missing(path, cause);
  }
}

/** Of the program that is built beside the addon: native/launch/unprivileged.cc. */
export function launcherPath(): string {
  return join(dirname(addonPath()), 'unprivileged');
}

const addonPath = () => process.env.RINGWAY_ADDON ?? DEFAULT_PATH;

function missing(path: string, cause: unknown): RingwayError {
  const message = `cannot load the native addon ${path}: ${(cause as Error).message}`;
  return new RingwayError('ADDON_MISSING', message, SET_UP, { cause });
}

/** After a `git pull` the addon may be older than the code around it, which then calls what is not there, or means something else. */
function checkBuild(path: string): void {
  let built: string;
  try {
    built = readFileSync(join(dirname(path), 'ringway.built'), 'utf8');
  } catch (cause) {
    throw missing(path, cause);
  }
  const [sources, node] = built.trim().split(' ');
  if (node !== process.version) {
    const message = `the native addon was built for Node ${node}, and this is ${process.version}`;
    throw new RingwayError('ADDON_STALE', message, `start it with ${ROOT}bin/ringway, or ${SET_UP}`);
  }
  if (sources !== digestSources())
    throw new RingwayError('ADDON_STALE', 'the native addon was built from other sources than those here', SET_UP);
}

/** As bin/native-digest.sh: a hash over the lines of sha256sum, in the order of the names. */
function digestSources(): string {
  const hash = (bytes: Buffer | string) => createHash('sha256').update(bytes).digest('hex');
  const files = readdirSync(join(ROOT, 'native'), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name).slice(ROOT.length))
    .filter((file) => !file.startsWith('native/fuzz/'));
  const lines = ['binding.gyp', ...files].sort().map((file) => `${hash(readFileSync(join(ROOT, file)))}  ${file}\n`);
  return hash(lines.join(''));
}
