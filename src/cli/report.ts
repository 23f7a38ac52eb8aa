/** How a refusal reads on a terminal: what failed, what to do, and the code that documentation and programs know it by. */
import { CommanderError } from 'commander';
import { ConfigError, sentence } from '../config/problem.ts';
import { RingwayError } from '../errors.ts';

const FAILED = 1;
const WRONG_USAGE = 2; // as the stock programs (protocol specification §11.1)

/** Wrong usage is what the command line alone would mend. */
export function exitCodeOf(error: unknown): number {
  const isUsage =
    error instanceof ConfigError
      ? error.problems.every(({ origin }) => origin.layer === 'flag')
      : error instanceof CommanderError || (error instanceof RingwayError && error.code === 'LOAD_USAGE');
  return isUsage ? WRONG_USAGE : FAILED;
}

/** One line a problem; never a stack trace, unless RINGWAY_TRACE asks for it. */
export function describe(error: unknown, env: NodeJS.ProcessEnv = process.env): string {
  const lines =
    error instanceof ConfigError
      ? error.problems.map((problem) => line(sentence(problem), problem.advice, problem.code))
      : [error instanceof RingwayError ? line(error.message, error.advice, error.code) : unexpected(error)];
  if (env.RINGWAY_TRACE) lines.push((error as Error)?.stack ?? String(error));
  return lines.join('\n');
}

function line(message: string, advice: string, code: string): string {
  return `ringway: ${message} — ${advice} [${code}]`;
}

function unexpected(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return line(message, 'this is a defect: run again with RINGWAY_TRACE=1 and report it', 'UNEXPECTED');
}
