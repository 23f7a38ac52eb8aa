import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readPassword, shownCommand } from '../../src/cli/load-password.ts';
import { createFolder, type Folder } from '../config/folder.ts';

let folder: Folder;
beforeEach(() => {
  folder = createFolder();
});
afterEach(() => folder.remove());

describe('the password of ringway load', () => {
  it('comes from a flag, from a file without the end of its line, or else from the environment', () => {
    const env = { RINGWAY_PASSWORD: 'of the environment' };
    const passwordFile = folder.write('password', ' of the file \r\n', 0o600);
    expect(readPassword({ passwordFile }, env)).toBe(' of the file ');
    expect(readPassword({ password: 'of the flag' }, env)).toBe('of the flag');
    expect(readPassword({}, env)).toBe('of the environment');
  });

  it.each([
    ['none', {}],
    ['an empty one', { password: '' }],
    ['two', { password: 'secret word', passwordFile: '/dev/null' }],
  ])('is refused when there is %s', (_name, flags) => {
    const refused = expect.objectContaining({
      code: 'LOAD_USAGE',
      message: expect.not.stringContaining('secret word'),
    });
    expect(() => readPassword(flags, {})).toThrow(refused);
  });

  it('is not taken from a file that others may read', () => {
    const passwordFile = folder.write('password', 'x', 0o644);
    expect(() => readPassword({ passwordFile }, {})).toThrow(expect.objectContaining({ code: 'FILE_PERMISSIONS' }));
  });

  it('is read from standard input for -', () => {
    const from = fileURLToPath(new URL('../../src/cli/load-password.ts', import.meta.url));
    const script = `import { readPassword } from ${JSON.stringify(from)}; console.log(JSON.stringify(readPassword({ passwordFile: '-' }, {})))`;
    const { stdout } = spawnSync(process.execPath, ['--input-type=module-typescript', '-e', script], {
      input: 'word\n',
      encoding: 'utf8',
    });
    expect(stdout).toBe('"word"\n');
  });
});

describe('the command that is shown', () => {
  it('has no password, however that was written', () => {
    const words = [
      'load',
      'upload',
      '--password',
      'hunter2',
      '--clients',
      '3',
      '--password=hunter2',
      '--password-file',
      'f',
    ];
    expect(shownCommand(words)).toBe('ringway load upload --password … --clients 3 --password=… --password-file f');
  });
});
