/** docs/configuration.md has every key, with its default and with what a reload makes of it. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { backendKeys } from '../../src/config/backends.ts';
import { clientKeys, serverEntryKeys } from '../../src/config/client-keys.ts';
import { asWritten, type Keys } from '../../src/config/keys.ts';
import { serverKeys } from '../../src/config/server-keys.ts';
import type { ClientConfig, ServerConfig } from '../../src/config/types.ts';
import { clientDuty, serverDuty } from '../../src/keeper/duty.ts';

const PAGE = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8');

interface Row {
  readonly key: string;
  readonly short: string | undefined;
  readonly fallback: string;
  /** Undefined in a table without that column. */
  readonly reload: string | undefined;
}

/** The rows of the table below a heading; a `|` within a cell is written `\|`. */
function rowsOf(heading: string): Row[] {
  const [, section] = PAGE.split(`\n${heading}\n`);
  const lines = section.split(/\n##+ /)[0].split('\n');
  return lines
    .filter((line) => line.startsWith('| `'))
    .map((line) => {
      const cells = line.split(/(?<!\\)\|/).map((cell) => cell.trim());
      const [, key, short] = /^`(\w+)`(?: \(`-(\w)`\))?$/.exec(cells[1]) ?? [];
      return { key, short, fallback: cells[3], reload: cells.length > 6 ? cells[4] : undefined };
    });
}

/** A key as the property of the configuration that it becomes. */
const inCode = (key: string) => key.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());

const OWN = rowsOf("## Ringway's own");
const PAGES = [
  ['## Server', serverKeys, []],
  ['## Client', clientKeys, ['servers']],
  ['### Entries of `servers`', serverEntryKeys, []],
  ["## Ringway's own", backendKeys, []],
] as const satisfies readonly (readonly [string, Keys, readonly string[]])[];

describe('docs/configuration.md', () => {
  it.each(PAGES)(
    'has every key below %s in the order of --help, with its short flag and default',
    (heading, keys, beside) => {
      const written = rowsOf(heading).filter(({ key }) => !(beside as readonly string[]).includes(key));
      const defined = Object.entries(keys as Keys).map(([key, { short, fallback, value }]) => ({
        key,
        short,
        fallback: asWritten(fallback, value) ?? 'none',
      }));
      expect(written.map(({ key, short, fallback }) => ({ key, short, fallback }))).toEqual(defined);
    },
  );

  it.each([
    ['## Server', serverDuty, []],
    ['## Client', clientDuty, ['mode']], // of `servers`, which stays as it was where their transports differ
  ] as const)('says below %s which settings a reload leaves as they were', (heading, duty, beside) => {
    const rows = [...rowsOf(heading), ...OWN];
    const settings = (value: string) => {
      const all = rows.map(({ key }) => [inCode(key), value]);
      return { ...Object.fromEntries(all), servers: [] } as unknown as ServerConfig & ClientConfig;
    };
    const { kept } = duty('', { flags: {}, env: {} }).carryOver(settings('before'), settings('after'));
    const fixed = rows.filter(({ key, reload }) => reload === 'no' && !(beside as readonly string[]).includes(key));
    expect(fixed.map(({ key }) => inCode(key)).sort()).toEqual([...kept].sort());
  });
});
