/** Fuzzing of TypeScript: mutations of a corpus, seeded, so that a run can be repeated. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';

/** What a `*.fuzz.ts` file exports: throws when `input` shows a bug, and only then. */
export interface FuzzTarget {
  fuzz(input: Uint8Array): void;
}

const MAX_INPUT = 4_096;

/** xorshift32 (Marsaglia 2003): enough for choosing mutations, and the same everywhere. */
export function seededNumbers(seed: number): (below: number) => number {
  let state = seed | 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const INTERESTING = [0, 1, 2, 3, 4, 16, 20, 21, 0x2c, 0x2f, 0x40, 0x7f, 0x80, 0xfe, 0xff];

/** One to four changes: bit, byte, length, cut, repeat, splice. The input is left as it was. */
export function mutate(input: Uint8Array, other: Uint8Array, number: (below: number) => number): Uint8Array {
  let bytes: Uint8Array = Uint8Array.from(input);
  for (let change = 0; change <= number(4); change++) {
    const at = number(bytes.length + 1);
    switch (number(7)) {
      case 0:
        if (at < bytes.length) bytes[at] ^= 1 << number(8);
        break;
      case 1:
        if (at < bytes.length) bytes[at] = INTERESTING[number(INTERESTING.length)];
        break;
      case 2:
        if (at < bytes.length) bytes[at] = number(256);
        break;
      case 3:
        if (at + 2 <= bytes.length) new DataView(bytes.buffer, bytes.byteOffset).setUint16(at, number(65_536));
        break;
      case 4:
        bytes = bytes.slice(0, at);
        break;
      case 5:
        bytes = joined(bytes.subarray(0, at), bytes.subarray(number(at + 1)));
        break;
      case 6:
        bytes = joined(bytes.subarray(0, at), other.subarray(number(other.length + 1)));
        break;
    }
  }
  return bytes.length > MAX_INPUT ? bytes.slice(0, MAX_INPUT) : bytes;
}

function joined(head: Uint8Array, tail: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(head.length + tail.length);
  bytes.set(head);
  bytes.set(tail, head.length);
  return bytes;
}

export function corpusFolder(name: string): string {
  return join(import.meta.dirname, 'corpus', name);
}

/** @returns false after the first input that failed; that input is then in the corpus, for the fix to be held by it */
export async function runScriptTarget(name: string, path: string, seconds: number, seed: number): Promise<boolean> {
  const target = (await import(path)) as FuzzTarget;
  const folder = corpusFolder(name);
  const corpus = existsSync(folder)
    ? readdirSync(folder)
        .sort()
        .map((file) => Uint8Array.from(readFileSync(join(folder, file))))
    : [];
  const number = seededNumbers(seed);
  const seeds = corpus.length > 0 ? corpus : [new Uint8Array(0)];
  const end = performance.now() + seconds * 1000;
  let runs = 0;
  for (let i = 0; i < corpus.length || performance.now() < end; i++) {
    const input =
      i < corpus.length ? corpus[i] : mutate(seeds[number(seeds.length)], seeds[number(seeds.length)], number);
    runs++;
    try {
      target.fuzz(input);
    } catch (error) {
      mkdirSync(folder, { recursive: true });
      const file = join(folder, `failed-${createHash('sha256').update(input).digest('hex').slice(0, 16)}`);
      writeFileSync(file, input);
      console.error(
        `fuzz ${name}: failed after ${runs} inputs; kept as ${relative(process.cwd(), file)}\n${(error as Error).stack}`,
      );
      return false;
    }
  }
  console.log(`fuzz ${name}: ${runs} inputs in ${seconds} s from a corpus of ${corpus.length}`);
  return true;
}
