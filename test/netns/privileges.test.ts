/** What the engines that carry traffic may do: nothing, in each of their threads, on a machine without setpriv too. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { run } from '../../src/lab/programs.ts';
import { RINGWAY, ringway, stateFolder, Tunnel } from '../../src/lab/tunnel.ts';
import { useLab } from './fixture.ts';

/** `ip netns exec` has made the mounts this program's own. */
const WITHOUT_SETPRIV = 'for p in $(command -v setpriv); do mount --bind /dev/null "$p"; done; exec "$0" "$@"';
const SETS = ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs'];

/** The distinct answers of all threads of a process. */
function rightsOf(pid: number): { threads: number; users: string[]; rights: string[] } {
  const threads = readdirSync(`/proc/${pid}/task`).map((task) =>
    readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8'),
  );
  const value = (status: string, name: string) => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(status)?.[1] ?? '';
  const distinct = (of: (status: string) => string) => [...new Set(threads.map(of))];
  const rights = distinct((status) => SETS.map((name) => value(status, name)).join(' '));
  return { threads: threads.length, users: distinct((status) => value(status, 'Uid')), rights };
}

describe('engines of keepers that are root, where setpriv is not installed', () => {
  const fixture = useLab();

  it('have no capability in any thread, no way to get one, and carry traffic', async () => {
    const { lab, credentials } = fixture;
    const hidden = (role: 'server' | 'client') => {
      const end = ringway(lab, role);
      return { ...end, command: ['sh', '-c', WITHOUT_SETPRIV, ...end.command] };
    };
    const ends = { server: hidden('server'), client: hidden('client') };
    const tunnel = await Tunnel.start(lab, { mode: 'udp', expresslane: true, credentials, ...ends });
    for (const role of ['server', 'client'] as const) {
      const words = [RINGWAY, 'status', '--json', '--all', '--state', stateFolder(lab, role)];
      const [{ enginePid }] = JSON.parse(await run(words)) as { enginePid: number }[];
      const { threads, users, rights } = rightsOf(enginePid);
      expect(threads).toBeGreaterThan(7); // shards and crypto besides Node's own
      expect(rights).toEqual([`${Array(5).fill('0000000000000000').join(' ')} 1`]);
      const staysRoot = tunnel[role].lines.some((line) => line.includes('stays root, without capabilities'));
      expect(users).toEqual([staysRoot ? '0' : '65534']); // a checkout that others may not read, or a namespace without others
    }
    await tunnel.stop();
  });
});
