/** What is wrong with a configuration: all of it at once, each with its place, so that one round of editing is enough. */
import { RingwayError } from '../errors.ts';

/** Where a value was written. A line and column count from 1, as editors do. */
export type Origin =
  | { readonly layer: 'default' }
  | { readonly layer: 'file'; readonly file: string; readonly line: number; readonly column: number }
  | { readonly layer: 'environment'; readonly variable: string }
  | { readonly layer: 'flag'; readonly flag: string };

export type ProblemCode =
  | 'CONFIG_SYNTAX' // not YAML, or not a map
  | 'CONFIG_UNKNOWN_KEY'
  | 'CONFIG_VALUE' // a known key, a value it cannot have
  | 'CONFIG_CONFLICT' // two values that exclude each other
  | 'IP_POOL_EMPTY'
  | 'CONFIG_MISSING'; // nothing where something is needed

export interface Problem {
  readonly code: ProblemCode;
  readonly key: string;
  readonly origin: Origin;
  readonly message: string;
  readonly advice: string;
}

/** `server.yaml:3:12`, `LW_SERVER_MODE`, `--mode`. */
export function place(origin: Origin): string {
  switch (origin.layer) {
    case 'default':
      return 'default';
    case 'file':
      return `${origin.file}:${origin.line}:${origin.column}`;
    case 'environment':
      return origin.variable;
    case 'flag':
      return origin.flag;
  }
}

/** Carries the code, message and advice of the first problem; `problems` has them all. */
export class ConfigError extends RingwayError {
  readonly problems: readonly Problem[];

  constructor(problems: readonly Problem[]) {
    const [first] = problems;
    super(first.code, sentence(first), first.advice);
    this.name = 'ConfigError';
    this.problems = problems;
  }
}

export function sentence(problem: Problem): string {
  return problem.origin.layer === 'default' ? problem.message : `${place(problem.origin)}: ${problem.message}`;
}
