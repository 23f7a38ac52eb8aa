/**
 * Changes to the host, and their undoing. Each change is made by the system's own tool and comes with its opposite; at the end
 * the opposites run in reverse. What was there before us is not taken away.
 */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { RingwayError } from '../errors.ts';
import type { Journal } from './journal.ts';

/** What a tool answered. `missing`: there is no such program. */
export interface Answer {
  readonly status: number;
  readonly output: string;
  readonly complaint: string;
  readonly missing: boolean;
}

/** The seam to the system. */
export interface Shell {
  run(program: string, args: readonly string[], input?: string): Answer;
  /** @throws when it cannot be read */
  read(path: string): string;
  /** In place, as the file may be a link or a mount, and never empty in between. */
  write(path: string, content: string): void;
  /** What `keep` has written. @throws when it is not there, a link, somebody else's or open to others */
  readKept(path: string): string;
  /** A new file that its owner alone may read, in a folder that is made where it is not there. @throws when it cannot be written, or exists */
  keep(path: string, content: string): void;
  remove(path: string): void;
}

/** Takes something back: a program and its arguments; or what only this process can do. */
type Opposite = readonly [string, ...string[]] | (() => void);

const SYSTEM_FOLDERS = '/usr/sbin:/usr/bin:/sbin:/bin';
const TOOL_TIMEOUT_MS = 5_000;

export const thisShell = (): Shell => ({
  run: (program, args, input) => {
    const env = { ...process.env, PATH: `${process.env.PATH ?? ''}:${SYSTEM_FOLDERS}`, LC_ALL: 'C' };
    const { status, stdout, stderr, error } = spawnSync(program, args, {
      env,
      encoding: 'utf8',
      timeout: TOOL_TIMEOUT_MS,
      ...(input === undefined ? {} : { input }),
    });
    return {
      status: status ?? 1,
      output: stdout ?? '',
      complaint: (stderr ?? '').trim() || (error?.message ?? ''),
      missing: (error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT',
    };
  },
  read: (path) => readFileSync(path, 'utf8'),
  write: (path, content) =>
    withFile(path, constants.O_WRONLY | constants.O_CREAT, (file) => {
      const bytes = Buffer.from(content);
      for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at, bytes.length - at, at);
      ftruncateSync(file, bytes.length);
      fsyncSync(file);
    }),
  readKept: (path) =>
    withFile(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK, (file) => {
      const { uid, mode } = fstatSync(file);
      const isOurs =
        (mode & constants.S_IFMT) === constants.S_IFREG && uid === process.geteuid?.() && (mode & 0o077) === 0;
      if (!isOurs) throw new Error(`${path} was not kept by this user`);
      return readFileSync(file, 'utf8');
    }),
  keep: (path, content) => {
    const folder = dirname(path);
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(path, content, { mode: 0o600, flag: 'wx', flush: true });
    withFile(folder, constants.O_RDONLY, fsyncSync);
  },
  remove: (path) => rmSync(path, { force: true }),
});

function withFile<T>(path: string, flags: number, use: (file: number) => T): T {
  const file = openSync(path, flags, 0o644);
  try {
    return use(file);
  } finally {
    closeSync(file);
  }
}

export class Host {
  readonly shell: Shell;
  readonly #opposites: { readonly group: string; readonly opposite: Opposite }[] = [];
  #journal: Journal | undefined;

  constructor(shell: Shell = thisShell()) {
    this.shell = shell;
  }

  /** From here on what is to be undone is written down, too. */
  writeDown(journal: Journal): void {
    this.#journal = journal;
  }

  /** Runs `ip`. @throws RingwayError IP_MISSING, HOST_REFUSED */
  ip(...args: string[]): string {
    const answer = this.shell.run('ip', args);
    if (answer.missing)
      throw new RingwayError(
        'IP_MISSING',
        'the program ip is not installed',
        'install iproute2 (apt install iproute2)',
      );
    if (answer.status !== 0) {
      throw new RingwayError(
        'HOST_REFUSED',
        `ip ${args.join(' ')}: ${answer.complaint}`,
        'run as root, or set route_mode: noexec',
      );
    }
    return answer.output;
  }

  /**
   * Adds something that may exist already; only what was added is taken away at the end.
   * @returns false when it existed
   */
  add(group: string, addition: readonly string[], removal: readonly string[]): boolean {
    try {
      this.ip(...addition);
    } catch (error) {
      if (error instanceof RingwayError && /File exists|already assigned/.test(error.message)) return false;
      throw error;
    }
    this.later(group, ['ip', ...removal]);
    return true;
  }

  later(group: string, opposite: Opposite): void {
    this.#opposites.push({ group, opposite });
    this.#note();
  }

  /** Undoes one group, or everything, newest first. Never throws: a device that is gone took its routes along. */
  undo(group?: string): void {
    for (let i = this.#opposites.length - 1; i >= 0; i--) {
      const { group: own, opposite } = this.#opposites[i];
      if (group !== undefined && own !== group) continue;
      this.#opposites.splice(i, 1);
      try {
        if (typeof opposite === 'function') opposite();
        else this.shell.run(opposite[0], opposite.slice(1));
      } catch {
        // The rest still has to be undone.
      }
    }
    this.#note();
  }

  #note(): void {
    this.#journal?.write(this.#opposites.flatMap(({ opposite }) => (typeof opposite === 'function' ? [] : [opposite])));
  }
}
