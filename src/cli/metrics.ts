/** `ringway metrics`: what running instances count, in the text format of Prometheus (docs/metrics.md). */
import { Command } from 'commander';
import { askStatistics } from '../keeper/control.ts';
import { exposition } from '../observe/metrics.ts';
import { addSelection, type Selection, select } from './instances.ts';

export function metricsCommand(): Command {
  const command = new Command('metrics').description('print what running instances count, for Prometheus');
  return addSelection(command).action(async (selection: Selection) => {
    const found = await select(selection);
    const instances = await Promise.all(found.map(({ path }) => askStatistics(path)));
    const sources = instances.map(({ status: { role, tun, generation }, statistics }) => ({
      role,
      tun,
      generation,
      statistics,
    }));
    process.stdout.write(await exposition(sources));
  });
}
