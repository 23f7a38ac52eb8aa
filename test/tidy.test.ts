/** docs/style.md as a test. What a table of exceptions holds may only shrink: mend the file, then take its line out. */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = join(import.meta.dirname, '..');
const MAX_FILE_LINES = 500;
const MAX_FUNCTION_LINES = 70;
const MAX_COLUMNS = 160; // TypeScript and shell: the formatter keeps code to 120; this is for comments and long strings
const MAX_COLUMNS_NATIVE = 185; // C++ has no formatter here

/** Columns are counted only where people wrote the lines as prose: the addon's contract is a table in the form of a file. */
const WIDE_FILES = ['native/addon.d.ts'];

/** Functions above the limit, with the length they have now. */
const LONG_FUNCTIONS: Readonly<Record<string, number>> = {};

/** docs/architecture.md, from left to right: a folder may import from itself and from every row further down. */
const LAYERS: readonly (readonly string[])[] = [
  ['cli', 'demo'],
  ['keeper', 'server', 'client', 'load', 'calibrate'],
  ['datapath'],
  ['io'],
  ['config', 'observe', 'lab'],
  ['session'],
  ['dtls', 'wire'],
  ['crypto', 'packet'],
  ['native'],
];

/** Files with no imports of their own weight, which every folder may use. */
const FOR_ALL = ['src/errors.ts', 'src/wire/time.ts'];

/** Arrows beside the layers: an engine speaks to its keeper; `dtls` reads bytes with the reader of `wire`. */
const EXTRA_ARROWS = [
  'server → src/keeper/protocol.ts',
  'server → src/keeper/engine-side.ts',
  'client → src/keeper/protocol.ts',
  'client → src/keeper/engine-side.ts',
  'dtls → src/wire/reader.ts',
];

interface Source {
  readonly path: string;
  readonly text: string;
  readonly lines: readonly string[];
}

function sources(...folders: string[]): Source[] {
  return folders.flatMap((folder) => {
    let entries: string[];
    try {
      entries = readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' });
    } catch {
      return []; // a folder of the layout that has no file yet
    }
    return entries
      .filter((entry) => /\.(ts|mjs|cc|h|sh)$/.test(entry) && !entry.includes('node_modules'))
      .sort()
      .map((entry) => {
        const text = readFileSync(join(ROOT, folder, entry), 'utf8');
        return { path: join(folder, entry), text, lines: text.split('\n') };
      });
  });
}

const product = sources('src', 'workers', 'native').filter(({ path }) => path.endsWith('.ts'));
const everything = sources('src', 'workers', 'test', 'bench', 'bin', 'native');

/** Where the relative imports of a file lead, `import type` and `import()` included. */
function imports({ path, text }: Source): string[] {
  const specifiers = text.matchAll(/(?:\bfrom\s+|\bimport\s*\(?\s*)'(\.[^']*)'/g);
  return [...specifiers].map(([, specifier]) => relative(ROOT, resolve(ROOT, dirname(path), specifier)));
}

/** @returns what is wrong with the arrow, if anything is */
function badArrow(from: string, to: string): string | undefined {
  const [, folder] = from.split('/');
  if (!from.startsWith('src/') || !from.includes('/', 4)) return undefined; // workers/ and src/errors.ts are roots
  if (to.startsWith('native/')) return folder === 'native' ? undefined : `${from} → ${to}`;
  if (!to.startsWith('src/')) return `${from} → ${to}`;
  const target = to.split('/')[1];
  if (target === folder || FOR_ALL.includes(to) || EXTRA_ARROWS.includes(`${folder} → ${to}`)) return undefined;
  const [left, right] = [folder, target].map((name) => LAYERS.findIndex((layer) => layer.includes(name)));
  if (left < 0) return `src/${folder}/ has no place in the architecture`;
  return right > left ? undefined : `${from} → ${to}`;
}

/** Lines of every function, by the formatter's own indentation: it closes at the first brace as deep as it began. */
function functionLengths({ path, lines }: Source): { name: string; length: number }[] {
  const block = String.raw`(?!(?:\} )?(?:if|for|while|switch|catch|else|do|try|finally)\b)`;
  const arrow = String.raw`.*=> \{`;
  const declared = String.raw`.*\bfunction\b.*\) ?.*\{`;
  const method = String.raw`[\w#$ *[\].]+(?:<.*>)?\(.*\)(?:: .+)? \{`;
  const signatureEnd = String.raw`\)(?:: .+)? \{`;
  const opens = new RegExp(String.raw`^\s*${block}(?:${arrow}|${declared}|${method}|${signatureEnd})$`);
  const found: { name: string; length: number }[] = [];
  lines.forEach((line, index) => {
    if (!opens.test(line)) return;
    const indent = /^\s*/.exec(line)?.[0] ?? '';
    const end = lines.findIndex((other, at) => at > index && other.startsWith(`${indent}}`));
    let start = index;
    if (line.trimStart().startsWith(')')) while (!/\($/.test(lines[start]) && start > 0) start--;
    const name = /(?:function\*? )?([#\w$]+)\s*(?:<.*>)?(?:\(| = )/.exec(lines[start])?.[1] ?? `line ${start + 1}`;
    found.push({ name: `${path} ${name}`, length: end - start + 1 });
  });
  return found;
}

describe('dependency arrows', () => {
  it('point one way: cli → keeper, server, client, load → datapath → session → dtls, wire → crypto, packet → native', () => {
    const wrong = product.flatMap((source) => imports(source).map((to) => badArrow(source.path, to)));
    expect(wrong.filter((arrow) => arrow !== undefined)).toEqual([]);
  });

  it('are refused from right to left, between equals, and into folders that have no place', () => {
    expect(badArrow('src/wire/frames.ts', 'src/session/types.ts')).toBe('src/wire/frames.ts → src/session/types.ts');
    expect(badArrow('src/server/main.ts', 'src/client/main.ts')).toBe('src/server/main.ts → src/client/main.ts');
    expect(badArrow('src/session/types.ts', 'src/config/types.ts')).toBe('src/session/types.ts → src/config/types.ts');
    expect(badArrow('src/tools/x.ts', 'src/wire/reader.ts')).toBe('src/tools/ has no place in the architecture');
    expect(badArrow('src/wire/frames.ts', 'test/x.ts')).toBe('src/wire/frames.ts → test/x.ts');
    expect(badArrow('src/datapath/batch.ts', 'src/session/types.ts')).toBeUndefined();
  });

  it('lead to files by their whole name, so that Node runs them as they are', () => {
    const wrong = everything
      .filter(({ path }) => path.endsWith('.ts'))
      .flatMap((source) =>
        imports(source)
          .filter((to) => !/\.(ts|json|node|mjs)$/.test(to))
          .map((to) => `${source.path} → ${to}`),
      );
    expect(wrong).toEqual([]);
  });
});

describe('sources', () => {
  it(`have at most ${MAX_FILE_LINES} lines a file`, () => {
    const long = product.filter(({ lines }) => lines.length > MAX_FILE_LINES + 1);
    expect(long.map(({ path, lines }) => `${path}: ${lines.length}`)).toEqual([]);
  });

  it(`have at most ${MAX_COLUMNS} columns, C++ ${MAX_COLUMNS_NATIVE}`, () => {
    const columnsOf = (path: string) => (/\.(cc|h)$/.test(path) ? MAX_COLUMNS_NATIVE : MAX_COLUMNS);
    const wide = everything
      .filter(({ path }) => !WIDE_FILES.includes(path) && !path.startsWith('test/interop/'))
      .flatMap(({ path, lines }) => lines.map((line, i) => (line.length > columnsOf(path) ? `${path}:${i + 1}` : '')));
    expect(wide.filter((place) => place !== '')).toEqual([]);
  });

  it(`have functions of at most ${MAX_FUNCTION_LINES} lines, or of the length their exception allows`, () => {
    const long = product
      .flatMap(functionLengths)
      .filter(({ name, length }) => length > (LONG_FUNCTIONS[name] ?? MAX_FUNCTION_LINES));
    expect(long.map(({ name, length }) => `${name}: ${length}`)).toEqual([]);
  });

  it('have no exception for a function that no longer needs it', () => {
    const lengths = new Map(product.flatMap(functionLengths).map(({ name, length }) => [name, length]));
    const idle = Object.keys(LONG_FUNCTIONS).filter((name) => (lengths.get(name) ?? 0) <= MAX_FUNCTION_LINES);
    expect(idle).toEqual([]);
  });

  it('are not named after nothing in particular', () => {
    const vague = everything.filter(({ path }) => /^(helpers?|utils?|common|misc)\b/.test(basename(path)));
    expect(vague.map(({ path }) => path)).toEqual([]);
  });
});

describe('the lockfile', () => {
  /** An entry of package-lock.json, as far as it is read here. */
  interface Locked {
    readonly version?: string;
    readonly optionalDependencies?: Readonly<Record<string, string>>;
  }

  // npm leaves out what it could not reach while writing the file; `npm ci` then refuses the whole file
  it('has an entry for every optional dependency, of other platforms too', () => {
    const lock = JSON.parse(readFileSync(join(ROOT, 'package-lock.json'), 'utf8')) as {
      packages: Record<string, Locked>;
    };
    const names = new Set(Object.keys(lock.packages).map((path) => path.slice(path.lastIndexOf('node_modules/') + 13)));
    const wanted = Object.values(lock.packages).flatMap((entry) => Object.keys(entry.optionalDependencies ?? {}));
    expect(wanted.filter((name) => !names.has(name))).toEqual([]);
  });
});
