/** `ringway server -c FILE`: takes the stock server's configuration and flags. */
import { Command } from 'commander';
import { backendKeys } from '../config/backends.ts';
import { serverKeys } from '../config/server-keys.ts';
import { serverDuty } from '../keeper/duty.ts';
import { keep } from '../keeper/keeper.ts';
import { checkServerFiles } from '../server/material.ts';
import { thisMachine } from './means.ts';
import { addKeys, flagsOf } from './options.ts';

export function serverCommand(): Command {
  const command = new Command('server').description("carry clients: takes the stock server's configuration and flags");
  addKeys(command, 'server', serverKeys, backendKeys).action(async () => {
    const { config_file: file, ...flags } = flagsOf(command);
    const duty = serverDuty(String(file), { flags, env: process.env }, checkServerFiles);
    process.exit((await keep(duty, thisMachine)).exitCode);
  });
  return command;
}
