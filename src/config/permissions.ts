/**
 * Reading files that decide who gets in. A file that others may change, or a secret that others may read, is refused before
 * its content is believed (protocol specification §11.1). The check and the read use one descriptor, so that nobody can put
 * another file in between.
 */
import { closeSync, fstatSync, openSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { RingwayError } from '../errors.ts';

export const BYPASS = 'LW_DANGEROUSLY_DISABLE_PERMISSIONS_CHECKS';

/**
 * secret: its owner alone may read it. public: everybody may read it, its owner alone may write it. unchecked: as the stock
 * programs treat `ca_cert`.
 */
export type Guard = 'secret' | 'public' | 'unchecked';

const WRITABLE_BY_OTHERS = 0o022;
const OPEN_TO_OTHERS = 0o077;
const STICKY = 0o1000;

interface Reader {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Effective user of this process. */
  readonly uid: number;
}

/**
 * @param what for messages: "server_key"
 * @throws RingwayError FILE_MISSING, FILE_UNREADABLE, FILE_OWNER or FILE_PERMISSIONS
 */
export function readGuarded(path: string, what: string, guard: Guard, reader: Reader = here()): string {
  const absolute = resolve(path);
  let descriptor: number;
  try {
    descriptor = openSync(absolute, 'r');
  } catch (cause) {
    throw unreadable(absolute, what, cause as NodeJS.ErrnoException);
  }
  try {
    const found = fstatSync(descriptor);
    if (!found.isFile() && !found.isFIFO()) throw noFile(absolute, what, found.isDirectory());
    if (guard !== 'unchecked' && reader.env[BYPASS] !== '1') {
      const { uid, mode } = found;
      checkOwner(absolute, what, uid, reader.uid);
      const bits = guard === 'secret' ? OPEN_TO_OTHERS : WRITABLE_BY_OTHERS;
      if (mode & bits) throw tooOpen(absolute, what, mode, guard);
      for (const folder of parents(absolute)) checkFolder(folder, what, reader.uid);
    }
    return readFileSync(descriptor, 'utf8');
  } catch (cause) {
    throw cause instanceof RingwayError ? cause : unreadable(absolute, what, cause as NodeJS.ErrnoException);
  } finally {
    closeSync(descriptor);
  }
}

function here(): Reader {
  return { env: process.env, uid: process.geteuid?.() ?? 0 };
}

/** Every folder on the way, both as written and behind symbolic links. */
function parents(path: string): Set<string> {
  const folders = new Set<string>();
  for (let at of [dirname(path), dirname(realpathSync(path))]) {
    while (!folders.has(at)) {
      folders.add(at);
      at = dirname(at);
    }
  }
  return folders;
}

function checkFolder(folder: string, what: string, user: number): void {
  const { uid, mode } = statSync(folder);
  checkOwner(folder, what, uid, user);
  if (mode & WRITABLE_BY_OTHERS && !(mode & STICKY)) {
    throw new RingwayError(
      'FILE_PERMISSIONS',
      `${what} lies below ${folder}, which others may write (mode ${octal(mode)}): they could put another file in its place`,
      `run: chmod go-w ${folder}`,
    );
  }
}

function checkOwner(path: string, what: string, owner: number, user: number): void {
  if (owner === 0 || owner === user || owner === strangerId()) return;
  throw new RingwayError(
    'FILE_OWNER',
    `${what}: ${path} belongs to user ${owner}, neither root nor the user who runs this (${user})`,
    `run: chown ${user} ${path}`,
  );
}

/** In a user namespace the host's root is not mapped and shows as the overflow user. */
function strangerId(): number | undefined {
  try {
    const [, , count] = readFileSync('/proc/self/uid_map', 'utf8').trim().split(/\s+/);
    return Number(count) < 2 ** 32 - 1 ? Number(readFileSync('/proc/sys/kernel/overflowuid', 'utf8')) : undefined;
  } catch {
    return undefined;
  }
}

function tooOpen(path: string, what: string, mode: number, guard: Guard): RingwayError {
  const secret = guard === 'secret';
  return new RingwayError(
    'FILE_PERMISSIONS',
    `${what}: others may ${secret && !(mode & WRITABLE_BY_OTHERS) ? 'read' : 'change'} ${path} (mode ${octal(mode)})`,
    `run: chmod ${secret ? '600' : 'go-w'} ${path}`,
  );
}

/** Said before its mode is: nobody wants to be told to close /etc. */
function noFile(path: string, what: string, isFolder: boolean): RingwayError {
  const [is, advice] = isFolder ? ['a folder', 'name a file in it'] : ['no regular file', 'name a regular file'];
  return new RingwayError('FILE_UNREADABLE', `${what}: ${path} is ${is}`, advice);
}

function unreadable(path: string, what: string, cause: NodeJS.ErrnoException): RingwayError {
  return cause.code === 'ENOENT'
    ? new RingwayError('FILE_MISSING', `${what}: there is no file ${path}`, 'correct the path, or create the file', {
        cause,
      })
    : new RingwayError(
        'FILE_UNREADABLE',
        `${what}: cannot read ${path}: the kernel answered ${cause.code ?? cause.message}`,
        'check the path and who may read it',
        { cause },
      );
}

const octal = (mode: number) => (mode & 0o7777).toString(8);
