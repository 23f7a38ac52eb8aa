/** `ringway status`: the instances that run, one line each; `--json` with everything their engines count. */
import { Command } from 'commander';
import { askStatistics, type Instance, type Status } from '../keeper/control.ts';
import { addSelection, type Selection, select } from './instances.ts';

export function statusCommand(): Command {
  const command = new Command('status').description('list running instances').option('--json', 'one JSON array');
  return addSelection(command).action(async (selection: Selection & { json?: boolean }) => {
    const found = await select(selection);
    if (!selection.json) for (const { status } of found) console.log(row(status));
    else
      console.log(JSON.stringify((await Promise.all(found.map(({ path }) => askStatistics(path)))).map(flat), null, 2));
  });
}

/** An instance as programs read it: `shards` is empty and `engine` null while there is no engine that answers. */
function flat({ status, statistics }: Instance): object {
  const { shards = [], ...engine } = statistics ?? {};
  return { ...status, engine: statistics ? engine : null, shards };
}

function row(status: Status): string {
  const { role, pid, tun, enginePid, generation, deaths, upSeconds, ready, configFile } = status;
  const engine = `engine ${enginePid ?? 'none'} (generation ${generation}, ${deaths} died)`;
  return `${role} ${pid}  ${ready ? 'ready' : 'starting'}  up ${upSeconds} s  tun ${tun}  ${engine}  ${configFile}`;
}
