/** `bin/ringway` as people call it. */
import { spawnSync } from 'node:child_process';
import { existsSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { describe as inWords } from '../../src/cli/report.ts';
import { clientKeys } from '../../src/config/client-keys.ts';
import { ConfigError } from '../../src/config/problem.ts';
import { serverKeys } from '../../src/config/server-keys.ts';
import { RingwayError } from '../../src/errors.ts';
import { createFolder, type Folder } from '../config/folder.ts';

const RINGWAY = fileURLToPath(new URL('../../bin/ringway', import.meta.url));
let folder: Folder;

beforeEach(() => {
  folder = createFolder();
});
afterEach(() => folder.remove());

function ringway(args: readonly string[], program = RINGWAY) {
  const { status, stdout, stderr } = spawnSync(program, args, {
    cwd: folder.path,
    encoding: 'utf8',
    env: { PATH: process.env.PATH },
  });
  return { status, stdout, stderr };
}

describe('bin/ringway', () => {
  it('examines this machine, for people and for programs', () => {
    const { status, stdout } = ringway(['doctor', '--json']);
    const findings = JSON.parse(stdout) as { state: string; subject: string }[];
    expect(findings.map(({ subject }) => subject)).toEqual(expect.arrayContaining(['kernel', 'aead', 'tun', 'udp']));
    expect(status).toBe(findings.some(({ state }) => state === 'bad') ? 1 : 0);
  });

  it('runs from any directory, and through a symbolic link', () => {
    const link = join(folder.path, 'rw');
    symlinkSync(RINGWAY, link);
    const version = ringway(['--version']);
    expect(version).toMatchObject({ status: 0, stderr: '', stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) });
    expect(ringway(['--version'], link)).toEqual(version);
  });

  it.each([
    ['server', serverKeys],
    ['client', clientKeys],
  ] as const)('lists every key of the %s as a flag', (role, keys) => {
    const { status, stdout } = ringway([role, '--help']);
    expect(status).toBe(0);
    for (const name of Object.keys(keys)) expect(stdout).toContain(`--${name.replaceAll('_', '-')} `);
    for (const own of ['--io', '--aead', '--gro', '--tun-offload', '--state']) expect(stdout).toContain(`${own} <`);
    for (const ofServers of ['--shards', '--groups', '--user-rates'])
      expect(stdout.includes(`${ofServers} <`)).toBe(role === 'server');
  });

  it.each([[['server']], [['server', '-c']], [['server', '-c', 'x', '--nonsense']], [['nonsense']]])(
    'ends %j with exit code 2',
    (args) => {
      expect(ringway(args)).toMatchObject({ status: 2, stderr: expect.stringMatching(/^ringway: /) });
    },
  );

  it('ends with exit code 1 and a line a problem where the configuration is wrong', () => {
    const file = folder.write('server.yaml', 'mode: upd\nuser_db: users\ntun: x\n');
    const { status, stdout, stderr } = ringway(['server', '-c', file, '--log-level', 'loud']);
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    const places = stderr
      .trim()
      .split('\n')
      .map((line) => /^ringway: (\S+): .* — .* \[(\w+)\]$/.exec(line)?.slice(1));
    expect(places).toEqual([
      [`${file}:1:7`, 'CONFIG_VALUE'],
      ['--log-level', 'CONFIG_VALUE'],
      [`${file}:3:1`, 'CONFIG_UNKNOWN_KEY'],
    ]);
  });

  it('ends with exit code 2 where nothing but values of flags is wrong', () => {
    const file = folder.write('server.yaml', 'user_db: users\n');
    const server = ringway(['server', '-c', file, '--pace-rate', '-5M', '--io', 'tape']);
    expect(server.status).toBe(2);
    expect(server.stderr).toMatch(/^ringway: --io: .*\nringway: --pace-rate: .* expected: a rate .*64k.*\n$/);
    const sweep = ringway(['load', 'upload', '--self', '--clients', 'many']);
    expect(sweep).toMatchObject({ status: 2, stderr: expect.stringMatching(/\[LOAD_USAGE\]\n$/) });
  });

  // a run of a minute was lost, and called a defect
  it.each(['--json', '--report'])('finds out before a load begins that %s leads nowhere', (flag) => {
    const nowhere = join(folder.path, 'nowhere', 'result');
    const { status, stdout, stderr } = ringway(['load', 'upload', '--self', flag, nowhere]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toContain(`${flag} ${nowhere} cannot be written: ENOENT`);
    const given = ringway(['load', 'upload', flag, join(folder.path, 'result')]);
    expect(given.stderr).toContain('--sink is missing');
    expect(existsSync(join(folder.path, 'result'))).toBe(false);
  });

  it('shows the default of every switch', () => {
    const { stdout } = ringway(['server', '--help']);
    const help = stdout.replaceAll(/\n {10,}/g, ' ');
    const switches = help.split('\n').filter((line) => line.includes('[true|false]'));
    expect(switches.length).toBeGreaterThan(5);
    expect(switches.filter((line) => !/\(default: (true|false)\)/.test(line))).toEqual([]);
  });

  it('takes the short flags of the stock programs', () => {
    const file = folder.write('client.yaml', 'ca_cert: none.crt\n');
    const { stderr } = ringway([
      'client',
      '-c',
      file,
      '-s',
      '127.0.0.1:1',
      '-m',
      'udp',
      '-u',
      'u',
      '-p',
      'p',
      '-t',
      'rw9',
      '-a',
      '-e',
    ]);
    expect(stderr).toMatch(/none\.crt.*\[FILE_MISSING\]\n$/);
  });

  it('says that there is nothing to reload where nothing runs', () => {
    const { status, stderr } = ringway(['reload', '--state', join(folder.path, 'nothing')]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/\[KEEPER_NONE\]\n$/);
  });
});

describe('describe', () => {
  it('writes what, advice and code in one line, and no stack', () => {
    expect(inWords(new RingwayError('PORT_IN_USE', 'what', 'advice'), {})).toBe('ringway: what — advice [PORT_IN_USE]');
    expect(inWords(new TypeError('oops'), {})).toMatch(/^ringway: oops — .*RINGWAY_TRACE.* \[UNEXPECTED\]$/);
  });

  it('writes every problem of a configuration', () => {
    const problem = {
      code: 'CONFIG_VALUE',
      key: 'k',
      origin: { layer: 'default' },
      message: 'm',
      advice: 'a',
    } as const;
    expect(inWords(new ConfigError([problem, problem]), {}).split('\n')).toHaveLength(2);
  });
});
