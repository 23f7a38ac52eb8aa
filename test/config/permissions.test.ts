import { chownSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BYPASS, type Guard, readGuarded } from '../../src/config/permissions.ts';
import type { RingwayError } from '../../src/errors.ts';
import { createFolder, type Folder, thrownBy } from './folder.ts';

let folder: Folder;
const uid = process.geteuid?.() ?? 0;

beforeEach(() => {
  folder = createFolder();
});
afterEach(() => folder.remove());

const read = (path: string, guard: Guard, env: Record<string, string> = {}) =>
  readGuarded(path, 'server_key', guard, { env, uid });
const refusal = (path: string, guard: Guard) => thrownBy<RingwayError>(() => read(path, guard))?.code;

// protocol specification §11.1, TESTED 5.9.1: what the stock programs accept and refuse.
describe('readGuarded', () => {
  it.each<[Guard, number, string | undefined]>([
    ['public', 0o640, undefined],
    ['public', 0o644, undefined],
    ['public', 0o600, undefined],
    ['public', 0o664, 'FILE_PERMISSIONS'],
    ['public', 0o666, 'FILE_PERMISSIONS'],
    ['secret', 0o600, undefined],
    ['secret', 0o400, undefined],
    ['secret', 0o640, 'FILE_PERMISSIONS'],
    ['secret', 0o644, 'FILE_PERMISSIONS'],
    ['unchecked', 0o666, undefined],
  ])('a %s file of mode %o: %s', (guard, mode, code) => {
    expect(refusal(folder.write('file', 'content', mode), guard)).toBe(code);
  });

  // `user_db: /etc` was told to chmod 600 /etc
  it.each<Guard>(['secret', 'public', 'unchecked'])(
    'says of a %s file that it is a folder, whatever its mode',
    (guard) => {
      const error = thrownBy<RingwayError>(() => read(folder.folder('open', 0o777), guard));
      expect(error).toMatchObject({ code: 'FILE_UNREADABLE', message: expect.stringMatching(/\/open is a folder$/) });
      expect(error?.advice).not.toContain('chmod');
      expect(refusal('/dev/null', guard)).toBe('FILE_UNREADABLE');
    },
  );

  it('refuses a file below a folder that others may write, unless that is sticky', () => {
    folder.folder('open', 0o777);
    expect(refusal(folder.write('open/file', ''), 'public')).toBe('FILE_PERMISSIONS');
    folder.folder('sticky', 0o1777);
    expect(refusal(folder.write('sticky/file', ''), 'public')).toBeUndefined();
  });

  it('looks at the folders behind a symbolic link too', () => {
    folder.folder('open', 0o777);
    symlinkSync(folder.write('open/file', ''), join(folder.path, 'link'));
    expect(refusal(join(folder.path, 'link'), 'public')).toBe('FILE_PERMISSIONS');
  });

  it.skipIf(uid !== 0)('refuses a file of another user (needs root to make one)', () => {
    const path = folder.write('file', '');
    chownSync(path, 12_345, 0);
    expect(refusal(path, 'public')).toBe('FILE_OWNER');
  });

  it('tells a missing file from one it may not read', () => {
    expect(refusal(join(folder.path, 'nothing'), 'public')).toBe('FILE_MISSING');
    expect(refusal(folder.folder('folder', 0o755), 'public')).toBe('FILE_UNREADABLE');
  });

  it('is bypassed by the stock variable, and by nothing but 1', () => {
    const path = folder.write('file', 'content', 0o666);
    expect(read(path, 'secret', { [BYPASS]: '1' })).toBe('content');
    expect(thrownBy(() => read(path, 'secret', { [BYPASS]: 'yes' }))).toMatchObject({ code: 'FILE_PERMISSIONS' });
  });
});
