/** `ringway status`: the instances that run, one line each. */
import { Command } from 'commander';
import type { Status } from '../keeper/control.ts';
import { addSelection, type Selection, select } from './instances.ts';

export function statusCommand(): Command {
  const command = new Command('status').description('list running instances').option('--json', 'one JSON array');
  return addSelection(command).action(async (selection: Selection & { json?: boolean }) => {
    const statuses = (await select(selection)).map(({ status }) => status);
    if (selection.json) console.log(JSON.stringify(statuses, null, 2));
    else for (const status of statuses) console.log(row(status));
  });
}

function row(status: Status): string {
  const { role, pid, tun, enginePid, generation, deaths, upSeconds, ready, configFile } = status;
  const engine = `engine ${enginePid ?? 'none'} (generation ${generation}, ${deaths} died)`;
  return `${role} ${pid}  ${ready ? 'ready' : 'starting'}  up ${upSeconds} s  tun ${tun}  ${engine}  ${configFile}`;
}
