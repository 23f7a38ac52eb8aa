/**
 * What the engine is left with: no capability, no way to get one, and an end with its keeper's. As root it becomes another user
 * besides; in a user namespace it keeps its user, which is nobody outside. What was done is said in one line.
 */
import { readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { RingwayError } from '../errors.ts';

export interface Privileges {
  /** Goes before the program: native/launch/unprivileged.cc and its arguments. */
  readonly prefix: readonly string[];
  /** Who the engine will be. */
  readonly uid: number;
  /** One line for the log. */
  readonly summary: string;
  /** What to do, where the engine stays root and need not. */
  readonly advice?: string;
}

export interface Machine {
  readonly uid: number;
  /** The keeper's process: the engine ends with it. */
  readonly pid: number;
  /** A regular file's text. @throws when it cannot be read */
  read(path: string): string;
  /** Mode, owner and group. */
  stat(path: string): { readonly mode: number; readonly uid: number; readonly gid: number };
}

export const thisMachine = (): Machine => ({
  uid: process.geteuid?.() ?? 0,
  pid: process.pid,
  read: (path) => readFileSync(path, 'utf8'),
  stat: (path) => statSync(path),
});

/**
 * @param launcher where `unprivileged` is
 * @param needed files the engine opens by itself (its code): another user must be able to read them
 * @throws RingwayError RUN_AS_UNKNOWN
 */
export function dropPrivileges(
  runAs: string,
  launcher: string,
  needed: readonly string[],
  machine: Machine = thisMachine(),
): Privileges {
  const prefix = (user: string) => [launcher, String(machine.pid), user];
  if (machine.uid !== 0)
    return {
      prefix: prefix('keep'),
      uid: machine.uid,
      summary: `the engine runs as user ${machine.uid} without capabilities`,
    };
  const user = findUser(runAs, machine);
  const stays = { prefix: prefix('keep'), uid: 0 };
  const words = 'the engine stays root, without capabilities';
  if (!mapped('uid', user.uid, machine) || !mapped('gid', user.gid, machine))
    return { ...stays, summary: `${words}: user ${user.uid} does not exist in this user namespace` };
  const closed = unreadable(needed, user, machine);
  if (closed)
    return {
      ...stays,
      summary: `${words}: ${closed}`,
      advice: `put the checkout where the user ${runAs} may read it, such as below /opt`,
    };
  const summary = `the engine runs as ${runAs} (${user.uid}) without capabilities`;
  return { prefix: prefix(`${user.uid}:${user.gid}`), uid: user.uid, summary };
}

interface User {
  readonly uid: number;
  readonly gid: number;
}

function findUser(runAs: string, machine: Machine): User {
  for (const line of machine.read('/etc/passwd').split('\n')) {
    const [name, , uid, gid] = line.split(':');
    if ((name === runAs || uid === runAs) && isId(uid) && isId(gid)) return { uid: Number(uid), gid: Number(gid) };
  }
  if (isId(runAs)) return { uid: Number(runAs), gid: Number(runAs) };
  throw new RingwayError(
    'RUN_AS_UNKNOWN',
    `there is no user ${runAs} for the engine to run as`,
    'set run_as to a name of /etc/passwd, or a number',
  );
}

/** 2³² − 1 is none: to setresuid(2) it means that nothing is to be changed. */
const isId = (text: string | undefined) => text !== undefined && /^\d{1,10}$/.test(text) && Number(text) < 2 ** 32 - 1;

/** Whether an id exists in this user namespace: lines of "inside outside count". */
function mapped(kind: 'uid' | 'gid', id: number, machine: Machine): boolean {
  const lines = machine.read(`/proc/self/${kind}_map`).trim().split('\n');
  return lines.some((line) => {
    const [inside, , count] = line.trim().split(/\s+/).map(Number);
    return id >= inside && id < inside + count;
  });
}

/** The first thing on the way to the engine's code that this user may not pass. */
function unreadable(needed: readonly string[], user: User, machine: Machine): string | undefined {
  for (const file of needed) {
    if (!permits(machine.stat(file), 0o4, user)) return `user ${user.uid} may not read ${file}`;
    for (let folder = dirname(file); ; folder = dirname(folder)) {
      if (!permits(machine.stat(folder), 0o1, user)) return `user ${user.uid} may not enter ${folder}`;
      if (folder === dirname(folder)) break;
    }
  }
  return undefined;
}

function permits({ mode, uid, gid }: ReturnType<Machine['stat']>, bit: number, user: User): boolean {
  const shift = uid === user.uid ? 6 : gid === user.gid ? 3 : 0;
  return ((mode >> shift) & bit) !== 0;
}
