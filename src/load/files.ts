/** Files that a run writes at its end, looked at before it begins: a measurement should not be lost for a folder that is missing. */
import { closeSync, existsSync, openSync, unlinkSync, writeFileSync } from 'node:fs';
import { RingwayError } from '../errors.ts';
import { usage } from './units.ts';

/** @param flag whose value it is; undefined where it was not given. @throws RingwayError LOAD_USAGE */
export function checkWritable(flag: string, path: string | undefined): void {
  if (path === undefined) return;
  try {
    const existed = existsSync(path);
    closeSync(openSync(path, 'a'));
    if (!existed) unlinkSync(path);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw usage(`${flag} ${path} cannot be written: ${code}`, 'name a file in a folder that is there');
  }
}

/** @throws RingwayError LOAD_UNWRITABLE */
export function writeFile(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    throw new RingwayError('LOAD_UNWRITABLE', `cannot write ${path}: ${code}`, 'make room, and run again', { cause });
  }
}
