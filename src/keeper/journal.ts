/**
 * What is to be undone, in a file of the state folder for as long as it is: a keeper that is killed leaves its routes behind, and the next start of a
 * client undoes them. Only lines for `ip` and the two resolvers' tools are written, and only those are run.
 */
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readGuarded } from '../config/permissions.ts';
import { RingwayError } from '../errors.ts';
import { ownNamespace } from './control.ts';
import type { Shell } from './host.ts';
import { isAlive, type Owner, thisOwner } from './owner.ts';

type Command = readonly string[];

interface Page {
  readonly owner: Owner;
  readonly namespace: string;
  /** Oldest first, as they were made necessary. */
  readonly commands: readonly Command[];
}

/** What is written down is of these forms: nothing else is run, whoever has written it. */
const FORMS = [
  /^ip (-6 )?route delete /,
  /^ip address delete /,
  /^ip link set dev /,
  /^resolvectl revert /,
  /^resolvconf -d /,
];
const NAME = /^undo-\d+\.json$/;

export class Journal {
  readonly #folder: string;
  readonly #path: string;
  readonly #complain: (error: RingwayError) => void;
  #failed = false;

  /** @param complain called once at most */
  constructor(folder: string, complain: (error: RingwayError) => void) {
    this.#folder = folder;
    this.#path = join(folder, `undo-${process.pid}.json`);
    this.#complain = complain;
  }

  /** Replaces what stands there; without commands the file goes. Never throws. */
  write(commands: readonly Command[]): void {
    if (this.#failed) return;
    try {
      if (commands.length === 0) return rmSync(this.#path, { force: true });
      const page: Page = { owner: thisOwner(), namespace: ownNamespace(), commands };
      const draft = `${this.#path}.new`;
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      rmSync(draft, { force: true });
      writeFileSync(draft, `${JSON.stringify(page)}\n`, { mode: 0o600, flag: 'wx' });
      renameSync(draft, this.#path);
    } catch (cause) {
      this.#failed = true;
      const message = `cannot write down what has to be undone: ${(cause as Error).message}`;
      const advice = 'set state to a folder of yours: a client that is killed leaves its routes behind';
      this.#complain(new RingwayError('UNDO_UNKEPT', message, advice, { cause }));
    }
  }
}

/** Undoes what dead keepers of this network namespace have left. @returns the process of each, and what of it was still there */
export function undoJournals(shell: Shell, folder: string): { pid: number; undone: string[] }[] {
  return namesIn(folder).flatMap((name) => {
    const path = join(folder, name);
    const page = readPage(path);
    if (!page || isAlive(page.owner) || page.namespace !== ownNamespace()) return [];
    const known = page.commands.filter((words) => FORMS.some((form) => form.test(words.join(' ')))).reverse();
    const undone = known.filter(([program, ...args]) => shell.run(program, args).status === 0);
    try {
      rmSync(path, { force: true });
    } catch {
      // read again at the next start, and undone already
    }
    return [{ pid: page.owner.pid, undone: undone.map((command) => command.join(' ')) }];
  });
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => NAME.test(name));
  } catch {
    return []; // none yet, or not ours
  }
}

/** @returns undefined for what nobody but this program's own user can have written, and for half a page */
function readPage(path: string): Page | undefined {
  try {
    const page = JSON.parse(readGuarded(path, 'state', 'secret')) as Page;
    const sound = Number.isInteger(page.owner.pid) && page.commands.every((command) => command.every(isText));
    return sound ? page : undefined;
  } catch {
    return undefined;
  }
}

const isText = (word: unknown) => typeof word === 'string';
