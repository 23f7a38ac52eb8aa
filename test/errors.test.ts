/** docs/errors.md has every code that the product can throw, log or close with, and none that is gone. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CLOSE_REASON } from '../src/session/types.ts';

const ROOT = join(import.meta.dirname, '..');
const PAGE = readFileSync(join(ROOT, 'docs/errors.md'), 'utf8');

/** Words in capitals that are no codes: variables of the environment, kernel and TLS names, Node's own codes. */
const NO_CODES = [
  'DUPLICATE_KEY',
  'LW_DANGEROUSLY_DISABLE_PERMISSIONS_CHECKS',
  'RINGWAY_LOAD_PRIVATE',
  'SO_RXQ_OVFL',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
];

function codesIn(text: string): string[] {
  const several = text.matchAll(/'([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)'/g); // two words or more: whatever uses it
  const thrown = text.matchAll(/\bnew \w*(?:Error|Refusal)\(\s*'([A-Z]+)'/g);
  const printed = text.matchAll(/ \[([A-Z]+_[A-Z_]+)\]"/g); // by scripts, in brackets
  const stated = text.matchAll(/\bcode: '([A-Z_]+)'/g);
  return [...several, ...thrown, ...printed, ...stated].map(([, code]) => code);
}

const files = ['src', 'workers', 'bin'].flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8', withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name)),
);
const used = new Map<string, string>();
for (const file of files)
  for (const code of codesIn(readFileSync(file, 'utf8'))) if (!NO_CODES.includes(code)) used.set(code, file);

/** Codes in the first column of a table. */
const documented = [...PAGE.matchAll(/^\| (`[^|]*) \|/gm)].flatMap(([, cell]) =>
  [...cell.matchAll(/`([A-Z0-9_]+)`/g)].map(([, code]) => code),
);
const mentioned = new Set([...PAGE.matchAll(/`([A-Z0-9_]+)`/g)].map(([, code]) => code));

describe('docs/errors.md', () => {
  it('has every code of src, workers and bin', () => {
    expect(used.size).toBeGreaterThan(70); // the search itself works
    expect(
      [...used].filter(([code]) => !mentioned.has(code)).map(([code, file]) => `${code} (${relative(ROOT, file)})`),
    ).toEqual([]);
  });

  it('has every reason to end a session', () => {
    expect(Object.keys(CLOSE_REASON).filter((code) => !documented.includes(code))).toEqual([]);
  });

  it('has each code once, and none that is gone', () => {
    expect(documented.filter((code, i) => documented.indexOf(code) !== i)).toEqual([]);
    const source = files.map((file) => readFileSync(file, 'utf8')).join('\n');
    expect(documented.filter((code) => !new RegExp(`['\\s[]${code}\\b`).test(source))).toEqual([]);
  });

  it('says in every row when it happens, and what to do where there is something to do', () => {
    const rows = (PAGE.match(/^\| `.*$/gm) ?? []).map((row) => row.split('|').slice(1, -1));
    expect(rows.every((cells) => cells.length >= 2 && cells.every((cell) => cell.trim().length > 1))).toBe(true);
  });
});
