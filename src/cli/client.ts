/** `ringway client -c FILE`: takes the stock client's configuration and flags. */
import { Command, Option } from 'commander';
import { checkClientFiles } from '../client/material.ts';
import { backendKeys } from '../config/backends.ts';
import { clientKeys } from '../config/client-keys.ts';
import { defaultYaml, generateFile, jsonSchema } from '../config/generate.ts';
import { clientDuty } from '../keeper/duty.ts';
import { keep } from '../keeper/keeper.ts';
import { thisMachine } from './means.ts';
import { addKeys, flagsOf } from './options.ts';

export function clientCommand(): Command {
  const command = new Command('client').description(
    "connect to a server: takes the stock client's configuration and flags",
  );
  addKeys(command, 'client', clientKeys, backendKeys).addOption(
    new Option('-g, --generate <KIND>', 'write defaults or a JSON schema to the configuration file, and end').choices([
      'yaml',
      'jsonschema',
    ]),
  );
  command.action(async () => {
    const { config_file: file, generate, ...flags } = flagsOf(command);
    if (generate !== undefined)
      return generateFile(String(file), generate === 'yaml' ? defaultYaml(clientKeys) : jsonSchema(clientKeys));
    const duty = clientDuty(String(file), { flags, env: process.env }, checkClientFiles);
    process.exit((await keep(duty, thisMachine)).exitCode);
  });
  return command;
}
