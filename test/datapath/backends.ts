/** Which nodes there are to test here: the reference ones always, the native ones over each AEAD backend of the addon. */
import { loadAddon } from '../../src/native/index.ts';
import { createNativeWorld, createNobleWorld, createReferenceWorld, type World, type WorldOptions } from './world.ts';

export interface Backend {
  readonly name: string;
  create(options?: WorldOptions): World;
}

export const addon = tryLoad();

export const nativeBackends: readonly Backend[] = (addon?.about().aead ?? []).map((aead) => ({
  name: `native nodes, ${aead}`,
  create: (options) => createNativeWorld(addon!, aead, options),
}));

const overNative = addon && { name: 'reference nodes, native memory', create: createNobleWorld.bind(undefined, addon) };

export const backends: readonly Backend[] = [
  { name: 'reference nodes', create: createReferenceWorld },
  ...(overNative ? [overNative] : []),
  ...nativeBackends,
];

/** Undefined on a machine without the addon; where CI runs, or a build was named, its absence is a failure. */
function tryLoad() {
  try {
    return loadAddon();
  } catch (error) {
    if (process.env.CI || process.env.RINGWAY_ADDON) throw error;
    return undefined;
  }
}
