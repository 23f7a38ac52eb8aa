/** The keys that a table of protocol specification §11 names in its first column, debug builds and other systems left out. */
import { readFileSync } from 'node:fs';

export function documentedKeys(section: '11.2' | '11.3'): string[] {
  const text = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8');
  const [, table] = text.split(`### ${section} `);
  const rows = table.split('\n### ')[0].split('\n');
  const keys = rows
    .filter((row) => row.startsWith('| `') && !row.includes('debug builds'))
    .map((row) => row.split('|')[1].replace(/\(.*alias.*\)/, ''))
    .flatMap((cell) => [...cell.matchAll(/`([a-z_]+)`/g)].map(([, name]) => name));
  return keys.filter((name) => !['config_file', 'generate', 'servers'].includes(name));
}
