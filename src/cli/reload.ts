/** `ringway reload`: a new engine with the configuration as it now is; UDP sessions go on. */
import { Command } from 'commander';
import { RingwayError } from '../errors.ts';
import { ask } from '../keeper/control.ts';
import { addSelection, type Selection, select } from './instances.ts';

export function reloadCommand(): Command {
  const command = new Command('reload').description(
    'start a new engine with the configuration as it is now; UDP sessions go on',
  );
  return addSelection(command).action(async (selection: Selection) => {
    const meant = await select(selection);
    const precise = selection.all || selection.pid !== undefined || selection.configFile !== undefined;
    if (meant.length > 1 && !precise) {
      const names = meant.map(({ status }) => `${status.role} ${status.pid} (${status.configFile})`).join(', ');
      throw new RingwayError(
        'KEEPER_SEVERAL',
        `several instances run here: ${names}`,
        'name one with --pid or -c, or all with --all',
      );
    }
    for (const { path } of meant) {
      const { role, pid, generation, enginePid, kept } = await ask(path, { command: 'reload' });
      console.log(`${role} ${pid}: engine ${enginePid}, generation ${generation}`);
      for (const setting of kept ?? []) console.log(`  ${setting} stays as it was until the next start`);
    }
  });
}
