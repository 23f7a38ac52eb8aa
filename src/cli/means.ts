/** The real machine, for the keeper. */
import { engineProgram } from '../keeper/engine-process.ts';
import { Host } from '../keeper/host.ts';
import type { Means } from '../keeper/keeper.ts';
import { loadAddon } from '../native/index.ts';
import { describe } from './report.ts';

export const thisMachine: Means = {
  kernel: loadAddon,
  program: engineProgram,
  host: () => new Host(),
  env: process.env,
  complain: (error) => console.error(describe(error)),
};
