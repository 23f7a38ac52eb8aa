/** The password of `ringway load`: where it comes from, and that no record of a run holds it. */
import { readFileSync } from 'node:fs';
import { readGuarded } from '../config/permissions.ts';
import { usage } from '../load/units.ts';

const STANDARD_INPUT = 0;

export interface PasswordFlags {
  readonly password?: string;
  /** `-`: standard input. */
  readonly passwordFile?: string;
}

/** A flag comes before the environment. @throws RingwayError LOAD_USAGE, and FILE_… as readGuarded does; none repeats the password */
export function readPassword(flags: PasswordFlags, env: Readonly<Record<string, string | undefined>>): string {
  const { password, passwordFile } = flags;
  if (password !== undefined && passwordFile !== undefined)
    throw usage('--password and --password-file do not go together', 'leave out --password: others see arguments');
  const found = passwordFile === undefined ? (password ?? env.RINGWAY_PASSWORD) : lineOf(passwordFile);
  if (!found) throw usage('the password is missing', 'give --password-file FILE, or set RINGWAY_PASSWORD');
  return found;
}

/** All of the file but the end of its line. */
function lineOf(path: string): string {
  const text = path === '-' ? readFileSync(STANDARD_INPUT, 'utf8') : readGuarded(path, '--password-file', 'secret');
  return text.replace(/\r?\n$/, '');
}

const SECRET = '--password';

/** A command as reports and results show it: `…` where a secret was written. @param words what follows `ringway` */
export function shownCommand(words: readonly string[]): string {
  const shown = words.map((word, i) => {
    if (words[i - 1] === SECRET) return '…';
    return word.startsWith(`${SECRET}=`) ? `${SECRET}=…` : word;
  });
  return ['ringway', ...shown].join(' ');
}
