/**
 * The one place that loads the addon. `RINGWAY_ADDON` names another build (sanitizers); otherwise it is the Release build
 * of this checkout. What the addon offers is written in `native/addon.d.ts`.
 */
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { Addon } from '../../native/addon.d.ts';
import { RingwayError } from '../errors.ts';

export type * from '../../native/addon.d.ts';

const DEFAULT_PATH = fileURLToPath(new URL('../../build/Release/ringway.node', import.meta.url));

let loaded: Addon | undefined;

/** @throws RingwayError ADDON_MISSING with what to run */
export function loadAddon(): Addon {
  if (loaded) return loaded;
  const path = process.env.RINGWAY_ADDON ?? DEFAULT_PATH;
  try {
    loaded = createRequire(import.meta.url)(path) as Addon;
    return loaded;
  } catch (cause) {
    throw new RingwayError(
      'ADDON_MISSING',
      `cannot load the native addon ${path}: ${(cause as Error).message}`,
      'run: npm run setup',
      {
        cause,
      },
    );
  }
}
