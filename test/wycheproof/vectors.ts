/**
 * Project Wycheproof's test vectors, run through the product's own call paths. `RINGWAY_WYCHEPROOF` names the folder that holds them.
 *
 * A call path answers each case: `accepted` or `rejected` says what it made of the bytes, `refused` that it takes no such parameters,
 * by which reason. Every case is counted, and the tests state the totals, so that nothing drops out unseen (docs/wycheproof.md).
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'vitest';

const FOLDER = process.env.RINGWAY_WYCHEPROOF;

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

/** Runs tests where the vectors are; says plainly where they are not. */
export const describeVectors = FOLDER ? describe : describe.skip;
export const SKIPPED = FOLDER ? '' : ' (skipped: RINGWAY_WYCHEPROOF names no folder with the vectors)';

export function groupsOf(file: string): readonly Group[] {
  if (!FOLDER) return [];
  return (JSON.parse(readFileSync(join(FOLDER, file), 'utf8')) as { testGroups: Group[] }).testGroups;
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
