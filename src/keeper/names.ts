/**
 * The host's name servers while a tunnel stands: set by resolvectl, resolvconf or in the file, the first that works. The file's former content is
 * kept beside it, and the file says where: a client that is killed leaves both, and the next one puts things right before it looks a name up.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { RingwayError } from '../errors.ts';
import type { Host, Shell } from './host.ts';
import { isAlive, type Owner, thisOwner } from './owner.ts';

export const NAMES = 'names';
const RESOLV_CONF = '/etc/resolv.conf';
const FIRST_LINE = '# written by ringway, which puts the former content back when it ends\n';
const SECOND_LINE = /^# \(process (\d+), begun (\d+); until then it is in (\/.*resolv\.conf\.ringway-[0-9a-f]{8})\)$/m;
/** Clients that started one above the other. */
const MOST_TEXTS = 16;

/** @throws RingwayError NAMES_REFUSED */
export function installNames(host: Host, tun: string, server: string, state: string): void {
  const { shell } = host;
  const works = (program: string, args: readonly string[], input?: string) =>
    shell.run(program, args, input).status === 0;

  if (works('resolvectl', ['dns', tun, server]) && works('resolvectl', ['domain', tun, '~.'])) {
    host.later(NAMES, ['resolvectl', 'revert', tun]);
    return;
  }
  const record = `${tun}.ringway`;
  if (works('resolvconf', ['-a', record], `nameserver ${server}\n`)) {
    host.later(NAMES, ['resolvconf', '-d', record]);
    return;
  }
  const before = contentOf(shell) ?? '';
  const kept = keepFormer(shell, before, state);
  const { pid, begun } = thisOwner();
  const ours = `${FIRST_LINE}# (process ${pid}, begun ${begun}; until then it is in ${kept})\nnameserver ${server}\n`;
  host.later(NAMES, () => putBack(shell, ours, kept, before));
  attempt(() => {
    try {
      shell.write(RESOLV_CONF, ours);
    } catch (cause) {
      restore(shell, before); // some of ours may stand there
      throw cause;
    }
  });
}

function restore(shell: Shell, before: string): void {
  try {
    shell.write(RESOLV_CONF, before);
  } catch {
    // what is kept stays
  }
}

/** Only where the file still has our text: somebody else's stays, and where it is another client's, that one will need what we kept. */
function putBack(shell: Shell, ours: string, kept: string, before: string): void {
  const now = contentOf(shell);
  if (now === ours) {
    if (!mendNames(shell)?.restored) shell.write(RESOLV_CONF, before);
  } else if (now === before || (now !== '' && !now?.startsWith(FIRST_LINE))) shell.remove(kept);
}

/** What clients that were killed have left in the file. */
export interface Mended {
  /** The process whose text stood there; undefined where older versions wrote it. */
  readonly pid: number | undefined;
  /** False where nobody knows any more what was there before. */
  readonly restored: boolean;
}

/** Puts the former content back where the file has the text of a client that is gone. @returns undefined where there is nothing to mend */
export function mendNames(shell: Shell): Mended | undefined {
  let content = contentOf(shell);
  const first = markOf(content);
  if (content === undefined || !first || isOwned(first)) return undefined;
  const used: string[] = [];
  for (let mark = markOf(content); mark && !isOwned(mark) && used.length < MOST_TEXTS; mark = markOf(content)) {
    const { former } = mark;
    const before = former === undefined ? undefined : keptAt(shell, former);
    if (former === undefined || before === undefined) break;
    used.push(former);
    content = before;
  }
  if (used.length > 0) {
    shell.write(RESOLV_CONF, content);
    for (const path of used) shell.remove(path);
  }
  const last = markOf(content);
  return { pid: first.owner?.pid, restored: used.length > 0 && (!last || isOwned(last)) };
}

/** Why no name is found, where it is for the text of another client. */
export function whoseNames(shell: Shell): string | undefined {
  const mark = markOf(contentOf(shell));
  if (!mark || mark.owner?.pid === process.pid) return undefined;
  const whose = mark.owner && isAlive(mark.owner) ? `the tunnel of process ${mark.owner.pid}` : 'a tunnel that is gone';
  return `${RESOLV_CONF} has the name server of ${whose}`;
}

interface Mark {
  readonly owner?: Owner;
  /** Where the former content is. */
  readonly former?: string;
}

function markOf(content: string | undefined): Mark | undefined {
  if (!content?.startsWith(FIRST_LINE)) return undefined;
  const [, pid, begun, former] = SECOND_LINE.exec(content) ?? [];
  return former === undefined ? {} : { owner: { pid: Number(pid), begun }, former };
}

const isOwned = ({ owner }: Mark) => owner !== undefined && isAlive(owner);

function contentOf(shell: Shell): string | undefined {
  try {
    return shell.read(RESOLV_CONF);
  } catch {
    return undefined;
  }
}

/** The path comes out of the file, which others may be able to write: only what is named and owned as what we keep is believed. */
function keptAt(shell: Shell, path: string): string | undefined {
  try {
    return shell.readKept(path);
  } catch {
    return undefined;
  }
}

/** Beside the file, where it outlives a power cut; in the state folder where nobody may write there. @returns the path */
function keepFormer(shell: Shell, content: string, state: string): string {
  const name = `resolv.conf.ringway-${randomBytes(4).toString('hex')}`;
  const [beside, inState] = ['/etc', state].map((folder) => join(folder, name));
  try {
    shell.keep(beside, content);
    return beside;
  } catch {
    attempt(() => shell.keep(inState, content));
    return inState;
  }
}

/** @throws RingwayError NAMES_REFUSED */
function attempt(change: () => void): void {
  try {
    change();
  } catch (cause) {
    const message = `cannot change ${RESOLV_CONF}: ${(cause as Error).message}`;
    throw new RingwayError('NAMES_REFUSED', message, 'run as root, or set dns_config_mode: noexec', { cause });
  }
}
