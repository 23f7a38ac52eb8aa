import { describe, expect, it } from 'vitest';
import { dropPrivileges, type Machine } from '../../src/keeper/privileges.ts';

const ENTRY = '/opt/ringway/src/server/engine.ts';
const LAUNCHER = '/opt/ringway/build/Release/unprivileged';
const WHOLE = '         0          0 4294967295\n';
const ONE = '         0       1000          1\n';

function machine(changes: Partial<Machine> & { modes?: Record<string, number>; map?: string } = {}): Machine {
  const { modes = {}, map = WHOLE, ...rest } = changes;
  const files: Record<string, string> = {
    '/etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65533::/:/bin/false\nvpn:x:990:991::/:/bin/false\n',
    '/proc/self/uid_map': map,
    '/proc/self/gid_map': map,
  };
  return {
    uid: 0,
    pid: 77,
    read: (path) => files[path],
    stat: (path) => ({ mode: modes[path] ?? 0o755, uid: 0, gid: 0 }),
    ...rest,
  };
}

/** What the launcher is told to do about the user. */
const userOf = ({ prefix }: { readonly prefix: readonly string[] }) => prefix[2];

describe('dropPrivileges', () => {
  it('puts the launcher first, with its own process and the user', () => {
    const { prefix } = dropPrivileges('nobody', LAUNCHER, [ENTRY], machine());
    expect(prefix).toEqual([LAUNCHER, '77', '65534:65533']);
  });

  it('takes a user by name or by number, in /etc/passwd or not', () => {
    expect(userOf(dropPrivileges('vpn', LAUNCHER, [ENTRY], machine()))).toBe('990:991');
    expect(userOf(dropPrivileges('990', LAUNCHER, [ENTRY], machine()))).toBe('990:991');
    expect(userOf(dropPrivileges('4711', LAUNCHER, [ENTRY], machine()))).toBe('4711:4711');
    expect(() => dropPrivileges('nobdy', LAUNCHER, [ENTRY], machine())).toThrow(
      expect.objectContaining({ code: 'RUN_AS_UNKNOWN' }),
    );
  });

  it('keeps the user in a user namespace that has no other', () => {
    const privileges = dropPrivileges('nobody', LAUNCHER, [ENTRY], machine({ map: ONE }));
    expect(userOf(privileges)).toBe('keep');
    expect(privileges.summary).toContain('user 65534 does not exist in this user namespace');
    expect(privileges.advice).toBeUndefined(); // nothing to be done about
  });

  it.each([
    ['/opt/ringway', 0o700],
    [ENTRY, 0o600],
  ])('keeps the user where another could not read the code behind %s, naming it', (path, mode) => {
    const privileges = dropPrivileges('nobody', LAUNCHER, [ENTRY], machine({ modes: { [path]: mode } }));
    expect(userOf(privileges)).toBe('keep');
    expect(privileges.summary).toContain(path);
    expect(privileges.advice).toContain('/opt');
  });

  it('keeps the user of a keeper that is not root', () => {
    expect(userOf(dropPrivileges('nobody', LAUNCHER, [ENTRY], machine({ uid: 1000 })))).toBe('keep');
  });
});
