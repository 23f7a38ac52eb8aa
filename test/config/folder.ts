/** A folder of the test's own, with files as strict as the programs demand. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Folder {
  readonly path: string;
  /** @returns the file's path */
  write(name: string, content: string, mode?: number): string;
  folder(name: string, mode: number): string;
  remove(): void;
}

export function createFolder(): Folder {
  const path = mkdtempSync(join(tmpdir(), 'ringway-test-'));
  chmodSync(path, 0o755);
  return {
    path,
    write: (name, content, mode = 0o600) => {
      const file = join(path, name);
      writeFileSync(file, content);
      chmodSync(file, mode);
      return file;
    },
    folder: (name, mode) => {
      const folder = join(path, name);
      mkdirSync(folder, { recursive: true });
      chmodSync(folder, mode);
      return folder;
    },
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}

/** What a function throws, or undefined. */
export function thrownBy<E extends Error>(act: () => unknown): E | undefined {
  try {
    act();
  } catch (error) {
    return error as E;
  }
  return undefined;
}
