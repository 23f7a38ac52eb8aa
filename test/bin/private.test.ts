/** Where a machine refuses namespaces, bin/private.sh says what to type. Played by programs of the same names in front of PATH. */
import { spawnSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { examine } from '../../src/keeper/doctor.ts';
import { loadAddon } from '../../src/native/index.ts';

const SCRIPT = join(import.meta.dirname, '../../bin/private.sh');
const RESTRICTED = 'kernel/apparmor_restrict_unprivileged_userns';
const folders: string[] = [];

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

/** A PATH on which unshare refuses, the user has this number, and settings of /proc/sys say what they are told to. */
function machine(options: { user: number; settings: Readonly<Record<string, number>> }): string {
  const folder = mkdtempSync(join(tmpdir(), 'ringway-private-'));
  folders.push(folder);
  const answers = Object.entries(options.settings).map(([name, value]) => `/proc/sys/${name}) echo ${value} ;;`);
  const programs = {
    // as under AppArmor's restriction: the namespaces are made, and nothing may be done in them
    unshare: 'echo "mount: /run: permission denied." >&2; echo "  dmesg(1) may have more information" >&2; exit 32',
    id: `echo ${options.user}`,
    cat: `case $1 in ${answers.join(' ')} *) echo "cat: $1: No such file or directory" >&2; exit 1 ;; esac`,
  };
  for (const [name, text] of Object.entries(programs)) {
    writeFileSync(join(folder, name), `#!/bin/sh\n${text}\n`);
    chmodSync(join(folder, name), 0o755);
  }
  return `${folder}:${process.env.PATH}`;
}

function outcome(options: Parameters<typeof machine>[0]) {
  const env = { ...process.env, PATH: machine(options) };
  const { status, stdout, stderr } = spawnSync('sh', [SCRIPT, 'echo', 'ran'], { env, encoding: 'utf8' });
  return { status, stdout, lines: stderr.trim().split('\n') };
}

describe('bin/private.sh where namespaces are refused', () => {
  it.each([
    ['the sysctl of Ubuntu', { [RESTRICTED]: 1 }, 'sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or '],
    [
      'the sysctl of older Debian',
      { 'kernel/unprivileged_userns_clone': 0 },
      'sudo sysctl kernel.unprivileged_userns_c',
    ],
    [
      'a limit of none',
      { [RESTRICTED]: 0, 'user/max_user_namespaces': 0 },
      'sudo sysctl user.max_user_namespaces=1000',
    ],
    ['something else', { [RESTRICTED]: 0, 'user/max_user_namespaces': 9 }, 'run it as root'],
  ])('by %s: stops, and says so in two lines', (_, settings, advice) => {
    const { status, stdout, lines } = outcome({ user: 1000, settings });
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(lines).toEqual([
      'private: this machine refuses namespaces to ordinary users (mount: /run: permission denied.)',
      expect.stringContaining(`private: ${advice}`),
    ]);
  });

  it('to root: speaks of containers, whatever the sysctl says', () => {
    const { status, lines } = outcome({ user: 0, settings: { [RESTRICTED]: 1 } });
    expect(status).toBe(1);
    expect(lines[1]).toContain('--privileged');
  });

  it('is what doctor reports, with the same line to type', () => {
    const { PATH } = process.env;
    process.env.PATH = machine({ user: 1000, settings: { [RESTRICTED]: 1 } });
    try {
      const finding = [...examine(loadAddon())].find(({ subject }) => subject === 'namespaces');
      expect(finding).toEqual({
        state: 'slow',
        subject: 'namespaces',
        words: expect.stringContaining('refuses namespaces to ordinary users (mount: /run: permission denied.)'),
        advice: 'sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run it with sudo',
      });
    } finally {
      process.env.PATH = PATH;
    }
  });
});
