/** The program through which a keeper starts its engine (native/launch), started as a keeper would: what is left to whatever it becomes. */
import { spawn, spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { launcherPath } from '../../src/native/index.ts';

const LAUNCHER = launcherPath();
const CAT = '/bin/cat';
const STATUS = '/proc/self/status';
const isRoot = process.geteuid?.() === 0;
const NOTHING = { CapInh: 0n, CapPrm: 0n, CapEff: 0n, CapAmb: 0n, NoNewPrivs: 1n };

/** Starts it below this process, by way of `before`. */
function launch(user: string, before: readonly string[] = [], keeper = String(process.pid)) {
  const [command, ...args] = [...before, LAUNCHER, keeper, user, CAT, STATUS];
  return spawnSync(command, args, { encoding: 'utf8' });
}

function fieldsOf(status: string) {
  const text = (name: string) => new RegExp(`^${name}:[ \\t]*(.*)$`, 'm').exec(status)?.[1].trim() ?? 'none';
  const sets = ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs'];
  const numbers = Object.fromEntries(sets.map((name) => [name, BigInt(`0x${text(name)}`)]));
  return { ...numbers, uid: text('Uid').split('\t'), gid: text('Gid').split('\t'), groups: text('Groups') };
}

describe('the launcher', () => {
  it('leaves the program no capability and no new privileges, and its user where that is to be kept', () => {
    const { status, stdout, stderr } = launch('keep');
    expect(status, stderr).toBe(0);
    expect(fieldsOf(stdout)).toMatchObject({ ...NOTHING, uid: Array(4).fill(String(process.geteuid?.())) });
  });

  it.skipIf(!isRoot)('makes root another user without groups, whom no program can give anything', () => {
    const { status, stdout, stderr } = launch('4711:4712');
    expect(status, stderr).toBe(0);
    const [uid, gid] = [Array(4).fill('4711'), Array(4).fill('4712')];
    expect(fieldsOf(stdout)).toEqual({ ...NOTHING, CapBnd: 0n, uid, gid, groups: '' });
  });

  it.skipIf(!isRoot)('takes from a service what systemd gave it as AmbientCapabilities', () => {
    const service = ['--reuid', '4711', '--regid', '4711', '--clear-groups', '--inh-caps', '+net_admin'];
    const before = ['setpriv', ...service, '--ambient-caps', '+net_admin'];
    const kept = spawnSync(before[0], [...before.slice(1), CAT, STATUS], { encoding: 'utf8' });
    expect(fieldsOf(kept.stdout)).toMatchObject({ CapEff: 1n << 12n }); // CAP_NET_ADMIN: there is something to take
    const { status, stdout, stderr } = launch('keep', before);
    expect(status, stderr).toBe(0);
    expect(fieldsOf(stdout)).toMatchObject({ ...NOTHING, uid: Array(4).fill('4711') });
  });

  it.skipIf(!isRoot)('gives root nothing back where it may not shrink the bounding set', () => {
    const before = ['setpriv', '--bounding-set', '-setpcap'];
    const { status, stdout, stderr } = launch('keep', before);
    expect(status, stderr).toBe(0);
    expect(fieldsOf(stdout)).toMatchObject({ ...NOTHING, uid: Array(4).fill('0') });
  });

  it.skipIf(!isRoot)('starts nothing where it may not change the user, and says what was refused', () => {
    const { status, stdout, stderr } = launch('4711:4711', ['setpriv', '--bounding-set', '-setuid']);
    expect([status, stdout]).toEqual([126, '']);
    expect(stderr).toBe('ringway: the engine was not started: setresuid: Operation not permitted\n');
  });

  it.each([
    ['nobody', /^ringway: .*: nobody: is not/],
    ['12', /^ringway: .*: 12: is not/],
    [':', /is not/],
    ['1:', /is not/],
    ['-1:1', /is not/],
    ['1:1x', /is not/],
    ['4294967295:1', /is not/],
    ['1:99999999999999999999', /is not/],
  ])('starts nothing as %s', (user, complaint) => {
    const { status, stdout, stderr } = launch(user);
    expect([status, stdout]).toEqual([126, '']);
    expect(stderr).toMatch(complaint);
  });

  it.each([[[]], [['1', 'keep']], [['1', 'keep', 'cat', STATUS]], [['x', 'keep', CAT, STATUS]]])(
    'starts nothing when it is called with %j',
    (args) => {
      const { status, stdout } = spawnSync(LAUNCHER, args, { encoding: 'utf8' });
      expect([status, stdout]).toEqual([126, '']);
    },
  );

  it('starts nothing below another process than the keeper it was told of, and says so', () => {
    const { status, stdout, stderr } = launch('keep', [], '1');
    expect([status, stdout]).toEqual([126, '']);
    expect(stderr).toBe('ringway: the engine was not started: unprivileged: its keeper has ended\n');
  });

  it('lets the program end with its keeper', async () => {
    const script = `"$0" $$ keep /bin/sleep 300 & echo $$; wait`;
    const keeper = spawn('sh', ['-c', script, LAUNCHER], { stdio: ['ignore', 'pipe', 'inherit'] });
    const closed = new Promise<void>((resolve) => keeper.once('close', () => resolve())); // of the program's output as well
    await new Promise((resolve) => keeper.stdout.once('data', resolve));
    keeper.kill('SIGKILL');
    await closed;
    expect(keeper.signalCode).toBe('SIGKILL');
  });
});
