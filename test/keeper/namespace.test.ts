/**
 * The keeper on the real kernel, in a network namespace of its own, with the fixture as its engine: what it makes, what it drops,
 * and that nothing is left behind.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ask, findKeepers } from '../../src/keeper/control.ts';
import { createFolder, type Folder } from '../config/folder.ts';

const MAIN = fileURLToPath(new URL('fixtures/main.ts', import.meta.url));
const RINGWAY = fileURLToPath(new URL('../../bin/ringway', import.meta.url));
const ADDON = process.env.RINGWAY_ADDON ?? fileURLToPath(new URL('../../build/Release/ringway.node', import.meta.url));
const NOEXEC = 'route_mode: noexec\ndns_config_mode: noexec';
/** Runs the rest with another list of name servers. */
const BIND = 'mount --bind "$0" /etc/resolv.conf && exec "$@"';
/** What is said on both streams, in the order it is said. */
const ONE_STREAM = ['sh', '-c', 'exec "$0" "$@" 2>&1'];
const NAMESPACE = `rwk-${process.pid}`;

const missing =
  (process.geteuid?.() !== 0 && 'root') ||
  (!existsSync(ADDON) && 'the addon') ||
  (!existsSync('/dev/net/tun') && '/dev/net/tun') ||
  '';

const ip = (...args: string[]) => execFileSync('ip', args, { encoding: 'utf8' });
const inside = (...args: string[]) => ip('-n', NAMESPACE, ...args);

interface Link {
  readonly mtu: number;
  readonly flags: readonly string[];
}

/** @returns undefined when there is no such device */
function link(name: string): Link | undefined {
  try {
    return (JSON.parse(ip('-n', NAMESPACE, '-j', 'link', 'show', 'dev', name)) as Link[])[0];
  } catch {
    return undefined;
  }
}

/** One program in the namespace, as the leader of its own process group. */
class Program {
  readonly lines: string[] = [];
  readonly ended: Promise<number | null>;
  readonly #child: ChildProcess;
  #waiting: (() => void)[] = [];

  constructor(role: 'server' | 'client', file: string, env: Record<string, string> = {}, prefix: string[] = []) {
    const command = [
      'netns',
      'exec',
      NAMESPACE,
      ...prefix,
      process.execPath,
      '--disable-warning=ExperimentalWarning',
      MAIN,
      role,
      '-c',
      file,
    ];
    const child = spawn('ip', command, {
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, ...env },
    });
    this.#child = child;
    this.ended = new Promise((resolve) => child.once('close', (code) => resolve(code)));
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream as NodeJS.ReadableStream }).on('line', (line) => {
        this.lines.push(line);
        for (const wake of this.#waiting.splice(0)) wake();
      });
    }
    void this.ended.then(() => {
      for (const wake of this.#waiting.splice(0)) wake();
    });
  }

  /** Waits until so many lines say this. */
  async says(pattern: RegExp, times = 1): Promise<void> {
    let over = false;
    void this.ended.then(() => {
      over = true;
    });
    while (this.lines.filter((line) => pattern.test(line)).length < times) {
      if (over) throw new Error(`ended without ${pattern}:\n${this.lines.join('\n')}`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** To the whole group, as a terminal and bench/rig do it. */
  signal(signal: NodeJS.Signals): void {
    process.kill(-(this.#child.pid as number), signal);
  }

  async stop(): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) this.signal('SIGTERM');
    return this.ended;
  }
}

describe.skipIf(missing !== '')(`the keeper in a namespace${missing && ` (needs ${missing})`}`, () => {
  let folder: Folder;
  let program: Program | undefined;
  let state: string;

  beforeAll(() => {
    ip('netns', 'add', NAMESPACE);
    inside('link', 'set', 'lo', 'up');
  });
  afterAll(() => {
    ip('netns', 'delete', NAMESPACE);
  });
  beforeEach(() => {
    folder = createFolder();
    state = join(folder.path, 'state');
    for (const file of ['server.crt', 'users']) folder.write(file, 'not looked at by the keeper');
    folder.write('server.key', 'twelve bytes');
  });
  afterEach(async () => {
    await program?.stop();
    program = undefined;
    folder.remove();
  });

  /** Everything a server needs but a device name. */
  const serverFile = () =>
    ['mode: udp', ...['server_cert: server.crt', 'server_key: server.key', 'user_db: users'].map(inFolder)].join('\n');
  const clientFile = () =>
    ['mode: udp', 'server: 127.0.0.1:27690', 'user: u', 'password: p', inFolder('ca_cert: server.crt'), NOEXEC].join(
      '\n',
    );
  const inFolder = (line: string) => line.replace(': ', `: ${folder.path}/`);
  const ringwayMap = () => `ringway:\n  state: ${state}\n  shards: 2\n`;

  function start(role: 'server' | 'client', lines = '', env: Record<string, string> = {}): Program {
    const file = `${role === 'server' ? serverFile() : clientFile()}\ntun_name: rwkt\n${lines}${ringwayMap()}`;
    program = new Program(role, folder.write(`${role}.yaml`, file), env);
    return program;
  }

  /** Another server, beside `program`. */
  function second(lines: string, shards = 2): Program {
    const own = ringwayMap().replace('shards: 2', `shards: ${shards}`);
    return new Program('server', folder.write('second.yaml', `${serverFile()}\n${lines}\n${own}`));
  }

  /** The fixture's report on itself, by way of the status of its keeper. */
  async function engine(): Promise<{ uid: string; capabilities: string[]; pid: number; generation: number }> {
    const [{ status }] = await findKeepers(state);
    const text = execFileSync('cat', [`/proc/${status.enginePid}/status`], { encoding: 'utf8' });
    const value = (name: string) => new RegExp(`^${name}:\\s*(\\S+)`, 'm').exec(text)?.[1] ?? '';
    return {
      pid: status.enginePid as number,
      generation: status.generation,
      uid: value('Uid'),
      capabilities: [...['CapPrm', 'CapEff', 'CapInh', 'CapBnd', 'CapAmb'].map(value), value('NoNewPrivs')],
    };
  }

  it('makes a server its device and nothing more: no address, not up', async () => {
    await start('server').says(/keeper: ready/);
    expect(link('rwkt')?.flags).not.toContain('UP');
    expect(inside('address', 'show', 'dev', 'rwkt')).not.toContain('inet');
    expect(await program?.stop()).toBe(0);
    expect(link('rwkt')).toBeUndefined();
    expect(readdirSync(state)).toEqual([]);
  });

  it('gives a client address, peer, MTU 1350 and up, and takes the device away again', async () => {
    await start('client').says(/keeper: started, connecting/);
    expect(link('rwkt')).toMatchObject({ mtu: 1350, flags: expect.arrayContaining(['UP']) });
    expect(inside('address', 'show', 'dev', 'rwkt')).toContain('inet 100.64.0.6 peer 100.64.0.5/32');
    expect(await program?.stop()).toBe(0);
    expect(link('rwkt')).toBeUndefined();
  });

  it('leaves a persistent device as it found it', async () => {
    inside('tuntap', 'add', 'dev', 'rwkt', 'mode', 'tun');
    try {
      const before = link('rwkt');
      await start('client').says(/keeper: started, connecting/);
      await program?.stop();
      expect(link('rwkt')).toMatchObject({ mtu: before?.mtu, flags: before?.flags });
      expect(inside('address', 'show', 'dev', 'rwkt')).not.toContain('100.64.0.6');
    } finally {
      inside('link', 'delete', 'rwkt');
    }
  });

  it('settles for the one queue of a device made without more', async () => {
    inside('tuntap', 'add', 'dev', 'rwkt', 'mode', 'tun');
    try {
      await start('server').says(/keeper: ready/);
      expect(program?.lines.join('\n')).toContain('1 queue for 2 shards');
      await program?.stop();
    } finally {
      inside('link', 'delete', 'rwkt');
    }
  });

  it('leaves the engine no user, no capability, and no way to get one; its user only where no other may read its code', async () => {
    await start('server').says(/keeper: ready/);
    const { uid, capabilities } = await engine();
    const hidden = program?.lines.some((line) => line.includes('stays root, without capabilities: user 65534 may not'));
    expect(uid === '0').toBe(hidden); // a checkout in /root: mode 0700
    expect(program?.lines.some((line) => /WARN.*code=ENGINE_ROOT/.test(line))).toBe(hidden);
    expect(program?.lines.join('\n')).toMatch(/the TUN device is open tun=rwkt offloads=checksums,TCP(,UDP)?$/m);
    expect(capabilities).toEqual([...Array(5).fill('0000000000000000'), '1']);
  });

  it('replaces a killed engine, and keeps the device and the port meanwhile', async () => {
    await start('server').says(/keeper: ready/);
    const first = await engine();
    process.kill(first.pid, 'SIGKILL');
    await program?.says(/keeper: ready/, 2);
    expect(link('rwkt')).toBeDefined();
    expect(await engine()).toMatchObject({ generation: 2 });
  });

  it('reloads on SIGHUP and by its control socket, with the file as it now is', async () => {
    await start('server', 'log_level: info\n').says(/keeper: ready/);
    const [{ path }] = await findKeepers(state);
    expect(await ask(path, { command: 'reload' })).toMatchObject({ generation: 2, deaths: 0 });
    program?.signal('SIGHUP');
    await program?.says(/keeper: reloaded/, 2);
    expect(await engine()).toMatchObject({ generation: 3 });
  });

  it('refuses to reload a file that is wrong, and goes on as it was', async () => {
    await start('server').says(/keeper: ready/);
    const [{ path, status }] = await findKeepers(state);
    folder.write('server.yaml', 'mode: upd\n');
    await expect(ask(path, { command: 'reload' })).rejects.toMatchObject({ code: 'CONFIG_VALUE' });
    expect((await engine()).pid).toBe(status.enginePid);
  });

  it('keeps what descriptors stand for on reload, and says which keys need a restart', async () => {
    await start('server').says(/keeper: ready/);
    const [{ path }] = await findKeepers(state);
    folder.write('server.yaml', `${serverFile()}\ntun_name: other\nbind_address: 0.0.0.0:1\n${ringwayMap()}`);
    const names = ['tun_name', 'bind_address'];
    expect(await ask(path, { command: 'reload' })).toMatchObject({ tun: 'rwkt', generation: 2, kept: names });
    const kept = program?.lines
      .filter((line) => line.includes('CONFIG_NEEDS_RESTART'))
      .map((line) => /setting=(\w+)/.exec(line)?.[1]);
    expect(kept).toEqual(names);
    const said = execFileSync(RINGWAY, ['reload', '--all', '--state', state], { encoding: 'utf8' });
    expect(said).toMatch(/^server \d+: engine \d+, generation 3$/m);
    for (const name of names) expect(said).toContain(`\n  ${name} stays as it was until the next start\n`);
  });

  it.each(['SIGINT', 'SIGTERM'] as const)(
    'ends by %s to its whole group with exit code 0, leaving nothing',
    async (signal) => {
      await start('server').says(/keeper: ready/);
      const { pid } = await engine();
      program?.signal(signal);
      expect(await program?.ended).toBe(0);
      expect(existsSync(`/proc/${pid}`)).toBe(false);
    },
  );

  it('takes its engine along when it is killed itself', async () => {
    await start('server').says(/keeper: ready/);
    program?.signal('SIGKILL');
    await program?.ended; // its output has closed: nobody holds it any more, the engine included
    expect(link('rwkt')).toBeUndefined();
  });

  it('is refused the port of another instance', async () => {
    await start('server').says(/keeper: ready/);
    const other = second('tun_name: rwk2');
    expect(await other.ended).toBe(1);
    expect(other.lines.join('\n')).toMatch(/\[PORT_IN_USE\]$/m);
    expect(link('rwk2')).toBeUndefined();
  });

  it.each([
    ['made with several queues', '', 2],
    ['made with several queues, of which it wants one', '', 1],
    ['that was there, with one queue', 'one_queue', 2],
    ['that was there, with several', 'multi_queue', 2],
  ])('is refused the device of another instance, %s', async (_what, existing, shards) => {
    const several = existing === 'multi_queue' ? [existing] : [];
    if (existing) inside('tuntap', 'add', 'dev', 'rwkt', 'mode', 'tun', ...several);
    try {
      await start('server').says(/keeper: ready/);
      const other = second('tun_name: rwkt\nbind_address: 127.0.0.1:27691', shards);
      expect(await other.ended).toBe(1);
      expect(other.lines.join('\n')).toMatch(/\[TUN_IN_USE\]$/m);
      await program?.stop();
      await start('server').says(/keeper: ready/); // and free again
      await program?.stop();
    } finally {
      if (existing) inside('link', 'delete', 'rwkt');
    }
  });

  it('says at its end that it has stopped, and keeps its memory out of core dumps before', async () => {
    await start('server').says(/keeper: ready/);
    const [{ status }] = await findKeepers(state);
    expect(readFileSync(`/proc/${status.pid}/limits`, 'utf8')).toMatch(/^Max core file size +0 +0 /m);
    expect(await program?.stop()).toBe(0);
    expect(program?.lines.at(-1)).toMatch(/keeper: stopped/);
  });

  it('ends at once while a name server lets it wait', async () => {
    inside('route', 'add', '192.0.2.0/24', 'dev', 'lo'); // takes every question, and answers none
    const resolver = folder.write('resolv.conf', 'nameserver 192.0.2.1\noptions timeout:30 attempts:4\n');
    const file = folder.write('client.yaml', clientFile().replace('127.0.0.1', 'vpn.example'));
    program = new Program('client', file, {}, ['unshare', '-m', 'sh', '-c', BIND, resolver]);
    await program.says(/keeper: looking up vpn\.example/);
    program.signal('SIGINT');
    expect(await program.ended).toBe(0);
    expect(program.lines.at(-1)).toMatch(/keeper: stopped/);
    inside('route', 'delete', '192.0.2.0/24', 'dev', 'lo');
  });

  it('prints a fatal error of the engine in one line, says then that it has stopped, and exits 1', async () => {
    const file = folder.write('client.yaml', `${clientFile()}\ntun_name: rwkt\n${ringwayMap()}`);
    program = new Program('client', file, { ENGINE_DOES: 'fatal' }, ONE_STREAM);
    expect(await program.ended).toBe(1);
    expect(program.lines.at(-2)).toBe(
      'ringway: the server refused the login — check user and password [LOGIN_REFUSED]',
    );
    expect(program.lines.at(-1)).toMatch(/keeper: stopped$/);
  });

  it('says why it does not start before it says that it has stopped, with the device taken away', async () => {
    const file = folder.write('server.yaml', `${serverFile()}\ntun_name: rwkt\n${ringwayMap()}  run_as: nobdy\n`);
    program = new Program('server', file, {}, ONE_STREAM);
    expect(await program.ended).toBe(1);
    expect(program.lines.at(-2)).toMatch(/\[RUN_AS_UNKNOWN\]$/);
    expect(program.lines.at(-1)).toMatch(/keeper: stopped$/);
    expect(link('rwkt')).toBeUndefined();
  });

  it('without the right to make a device says so before it looks a name up', async () => {
    const file = folder.write('client.yaml', clientFile().replace('127.0.0.1', 'vpn.example'));
    program = new Program('client', file, {}, [...ONE_STREAM, 'setpriv', '--bounding-set', '-all']);
    expect(await program.ended).toBe(1);
    expect(program.lines.join('\n')).toMatch(/\[TUN_DENIED\]$/);
    expect(program.lines.join('\n')).not.toContain('looking up');
  });

  it('exits 1 where a certificate is missing, before anything was made', async () => {
    const { ended, lines } = start('server', `token_rsa_pub_key_pem: ${folder.path}/none.pem\n`);
    expect(await ended).toBe(1);
    expect(lines.at(-1)).toMatch(/\[FILE_MISSING\]$/);
  });
});
