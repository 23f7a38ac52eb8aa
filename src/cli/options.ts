/** Flags of `server` and `client`: one a key of the configuration, so that neither can be forgotten. */
import { type Command, Option } from 'commander';
import { asWritten, type Keys } from '../config/keys.ts';
import { flagName } from '../config/layers.ts';

const STOCK = 'Configuration keys (also in the file, and as environment variables):';
const OWN = "Ringway's own (in the file below `ringway:`):";

/** Adds -c and a flag for every key. The help of a role leaves out what only the other one heeds. */
export function addKeys(command: Command, role: 'server' | 'client', stock: Keys, own: Keys): Command {
  command.requiredOption('-c, --config-file <FILE>', 'configuration in YAML, as of the stock program');
  for (const [keys, heading] of [
    [stock, STOCK],
    [own, OWN],
  ] as const) {
    for (const [name, key] of Object.entries(keys)) {
      if (key.fileOnly) continue;
      const short = key.short ? `-${key.short}, ` : '';
      const value = key.value ? `<${key.value}>` : '[true|false]';
      const option = new Option(`${short}${flagName(name)} ${value}`, about(key.about, key.fallback, key.value));
      command.addOption(option.helpGroup(heading).hideHelp(key.only !== undefined && key.only !== role));
    }
  }
  return command;
}

/** Keys by their snake_case names, as the configuration wants them. */
export function flagsOf(command: Command): Record<string, string | boolean | undefined> {
  const flags: Record<string, string | boolean | undefined> = {};
  for (const [name, value] of Object.entries(command.opts<Record<string, string | boolean>>())) {
    flags[name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)] = value;
  }
  return flags;
}

function about(words: string, fallback: unknown, value: string | undefined): string {
  const shown = asWritten(fallback, value);
  return shown === undefined ? words : `${words} (default: ${shown})`;
}
