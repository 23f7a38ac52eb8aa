/**
 * Project Wycheproof's test vectors (vectors/README.md), run through the product's own call paths.
 *
 * A call path answers each case: `accepted` or `rejected` says what it made of the bytes, `refused` that it takes no such parameters,
 * by which reason. Every case is counted, and the tests state the totals, so that nothing drops out unseen (docs/wycheproof.md).
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { zstdDecompressSync } from 'node:zlib';

/** JSON: an object from file name to the file's text, byte for byte. */
export const ARCHIVE = join(import.meta.dirname, 'vectors/vectors.json.zst');
/** As `sha256sum` writes it. */
export const SUMS = join(import.meta.dirname, 'vectors/SHA256SUMS');

export interface Case {
  readonly tcId: number;
  readonly comment?: string;
  readonly flags: readonly string[];
  readonly result: 'valid' | 'invalid' | 'acceptable';
  /** Fields in hex, as the file's schema names them. */
  readonly [field: string]: unknown;
}

export interface Group {
  readonly tests: readonly Case[];
  readonly [field: string]: unknown;
}

export type Answer = 'accepted' | 'rejected' | { readonly refused: string };

export interface Tally {
  /** Cases with an answer, which was right. */
  run: number;
  /** Cases whose parameters the path does not take, by reason. */
  readonly refused: Record<string, number>;
  /** Cases that may go either way, by flags: how ours went. */
  readonly acceptable: Record<string, number>;
  /** What is wrong, at most a few lines of it. */
  readonly wrong: string[];
}

let archive: Readonly<Record<string, string>> | undefined;

export function textOf(file: string): string {
  archive ??= JSON.parse(zstdDecompressSync(readFileSync(ARCHIVE)).toString()) as Record<string, string>;
  const text = archive[file];
  if (text === undefined) throw new Error(`${ARCHIVE} has no ${file}`);
  return text;
}

/** SHA-256 by file name. */
export function listed(): ReadonlyMap<string, string> {
  const lines = readFileSync(SUMS, 'utf8').trim().split('\n');
  return new Map(lines.map((line) => [line.slice(66), line.slice(0, 64)]));
}

export function groupsOf(file: string): readonly Group[] {
  return (JSON.parse(textOf(file)) as { testGroups: Group[] }).testGroups;
}

/** Puts every case of a file to a call path. `answer` must not throw: a crash is not a refusal. */
export async function tally(
  file: string,
  answer: (test: Case, group: Group) => Answer | Promise<Answer>,
): Promise<Tally> {
  const found: Tally = { run: 0, refused: {}, acceptable: {}, wrong: [] };
  for (const group of groupsOf(file))
    for (const test of group.tests) {
      const given = await answer(test, group);
      if (typeof given === 'object') found.refused[given.refused] = (found.refused[given.refused] ?? 0) + 1;
      else if (test.result === 'acceptable') {
        const name = `${test.flags.join('+')}: ${given}`;
        found.acceptable[name] = (found.acceptable[name] ?? 0) + 1;
      } else if ((test.result === 'valid') === (given === 'accepted')) found.run++;
      else if (found.wrong.length < 5)
        found.wrong.push(`${test.tcId} ${test.result}, ${given}: ${test.comment} ${test.flags}`);
    }
  return found;
}

export function bytes(hex: unknown): Uint8Array {
  return new Uint8Array(Buffer.from(hex as string, 'hex'));
}

export function equal(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && Buffer.compare(a, b) === 0;
}

/** One line per file and path in the test's output. */
export function report(file: string, path: string, { run, refused, acceptable }: Tally): void {
  const list = (counts: Record<string, number>) => Object.entries(counts).map(([name, count]) => `${count} ${name}`);
  const either = list(acceptable);
  const parts = [
    `${run} run`,
    ...list(refused).map((line) => `refused: ${line}`),
    ...either.map((line) => `either way: ${line}`),
  ];
  console.log(`wycheproof ${file} | ${path} | ${parts.join(' | ')}`);
}
