import { describe, expect, it } from 'vitest';
import { dropPrivileges, type Machine } from '../../src/keeper/privileges.ts';

const ENTRY = '/opt/ringway/src/server/engine.ts';
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
    read: (path) => files[path],
    executable: (path) => path === '/usr/bin/setpriv',
    stat: (path) => ({ mode: modes[path] ?? 0o755, uid: 0, gid: 0 }),
    searchPath: '/usr/local/bin',
    ...rest,
  };
}

const text = (prefix: readonly string[]) => prefix.join(' ');

describe('dropPrivileges', () => {
  it('makes root another user without groups, capabilities, or a way to get them', () => {
    const { prefix } = dropPrivileges('nobody', [ENTRY], machine());
    expect(text(prefix)).toBe(
      '/usr/bin/setpriv --reuid 65534 --regid 65533 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all --ambient-caps=-all --pdeathsig KILL --',
    );
  });

  it('takes a user by name or by number, in /etc/passwd or not', () => {
    expect(text(dropPrivileges('vpn', [ENTRY], machine()).prefix)).toContain('--reuid 990 --regid 991');
    expect(text(dropPrivileges('990', [ENTRY], machine()).prefix)).toContain('--reuid 990 --regid 991');
    expect(text(dropPrivileges('4711', [ENTRY], machine()).prefix)).toContain('--reuid 4711 --regid 4711');
    expect(() => dropPrivileges('nobdy', [ENTRY], machine())).toThrow(
      expect.objectContaining({ code: 'RUN_AS_UNKNOWN' }),
    );
  });

  it('keeps the user in a user namespace that has no other, and drops the capabilities all the same', () => {
    const prefix = text(dropPrivileges('nobody', [ENTRY], machine({ map: ONE })).prefix);
    expect(prefix).not.toContain('--reuid');
    expect(prefix).not.toContain('--clear-groups');
    expect(prefix).toContain('--bounding-set=-all');
  });

  it.each([
    ['/opt/ringway', 0o700],
    [ENTRY, 0o600],
  ])('keeps the user where another could not read the code behind %s, naming it', (path, mode) => {
    const { prefix, summary } = dropPrivileges('nobody', [ENTRY], machine({ modes: { [path]: mode } }));
    expect(text(prefix)).not.toContain('--reuid');
    expect(text(prefix)).toContain('--bounding-set=-all');
    expect(summary).toContain(path);
  });

  it('forbids new privileges where the keeper has none itself', () => {
    expect(text(dropPrivileges('nobody', [ENTRY], machine({ uid: 1000 })).prefix)).toBe(
      '/usr/bin/setpriv --no-new-privs --pdeathsig KILL --',
    );
  });

  it('says that it dropped nothing where setpriv is missing', () => {
    const { prefix, summary } = dropPrivileges('nobody', [ENTRY], machine({ executable: () => false }));
    expect(prefix).toEqual([]);
    expect(summary).toContain('setpriv');
  });
});
