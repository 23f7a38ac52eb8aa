/** Which running instances a command means. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { defaultState } from '../config/backends.ts';
import { RingwayError } from '../errors.ts';
import { type Found, findKeepers, ownNamespace, type Status } from '../keeper/control.ts';

export interface Selection {
  readonly state?: string;
  readonly configFile?: string;
  readonly pid?: string;
  readonly all?: boolean;
}

export function addSelection(command: Command): Command {
  return command
    .option('-c, --config-file <FILE>', 'the instance started with this file')
    .option('--pid <PID>', 'the instance whose keeper has this process id')
    .option('--all', 'every instance, in every network namespace')
    .option('--state <DIR>', `folder of the control sockets (default: ${defaultState()})`);
}

/**
 * Without a choice: the instances of this network namespace.
 * @throws RingwayError KEEPER_NONE
 */
export async function select(selection: Selection): Promise<Found[]> {
  const folder = selection.state ?? defaultState();
  const running = await findKeepers(folder);
  const meant = running.filter(({ status }) => matches(status, selection));
  if (meant.length > 0) return meant;
  const others = running.map(({ status }) => `${status.role} ${status.pid} (${status.configFile})`).join(', ');
  const chosen = selection.pid !== undefined || selection.configFile !== undefined;
  const none = chosen ? 'no such instance is running' : 'no instance is running in this network namespace';
  throw new RingwayError(
    'KEEPER_NONE',
    others ? `${none}; in ${folder}: ${others}` : `no instance is running (none in ${folder})`,
    others ? 'name one with --pid or -c, or all with --all' : 'start one: ringway server -c FILE',
  );
}

function matches(status: Status, { all, pid, configFile }: Selection): boolean {
  if (all) return true;
  if (pid !== undefined) return status.pid === Number(pid);
  if (configFile !== undefined) return resolve(status.configFile) === resolve(configFile);
  return status.namespace === ownNamespace();
}
