/**
 * `--self`: a server under load, a sink behind it and the loader, each in a network namespace of its own, with an authority, a
 * certificate and a user made on the spot. Runs inside bin/private.sh, so that namespaces and processes go with it, however it ends.
 */
import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RingwayError } from '../errors.ts';
import { createCredentials, PASSWORD, SERVER_NAME, USER } from '../lab/credentials.ts';
import { Lab, NET_ADDRESS, SERVER_OUTSIDE } from '../lab/hosts.ts';
import { run } from '../lab/programs.ts';
import { ringway, SERVER_DEVICE, startServer, stateFolder } from '../lab/tunnel.ts';
import type { Scenario } from './scenario.ts';

const SERVER_PORT = 27690;
const SINK_PORT = 5201;
const CLI = fileURLToPath(new URL('../cli/main.ts', import.meta.url));

export interface SelfOptions {
  readonly scenario: Pick<Scenario, 'transport' | 'expresslane' | 'clients'>;
  /** Words of a stock server's command line, to be started in Ringway's place; empty: Ringway. */
  readonly serverCommand: readonly string[];
  /** Further flags of the server. */
  readonly serverFlags: readonly string[];
  /** Lines of YAML for the server's configuration file. */
  readonly serverKeys: Readonly<Record<string, string | number | boolean>>;
  /** Given to `ip link set` for the server's TUN device. */
  readonly tunSettings: readonly string[];
}

/** Where the parts of a lab are to be found, for a loader inside its client namespace. */
export interface Stage {
  readonly lab: Lab;
  readonly flags: readonly string[];
  close(): Promise<void>;
}

/** @throws RingwayError LAB_SILENT, with the last lines of whatever did not come up */
export async function setStage(options: SelfOptions): Promise<Stage> {
  const { scenario, serverCommand, serverFlags, serverKeys, tunSettings } = options;
  const lab = await Lab.create();
  try {
    const credentials = await createCredentials(lab.folder);
    // The cheapest hash the servers take: a thousand logins are to measure the datapath, not the hash.
    const hash = (await run(['openssl', 'passwd', '-6', '-salt', 'rounds=1000$ringway', PASSWORD])).trim();
    await writeFile(credentials.users, `${USER}:${hash}\n`, { mode: 0o600 });
    const end =
      serverCommand.length > 0
        ? { command: serverCommand, flags: serverFlags, keys: serverKeys }
        : ringway(lab, 'server', serverFlags, serverKeys);
    const tunnel = { mode: scenario.transport, expresslane: scenario.expresslane, credentials };
    const server = await startServer(lab, { ...tunnel, server: end, client: end });
    await lab.server.run('ip', 'link', 'set', SERVER_DEVICE, 'mtu', '1350', ...tunSettings);
    const control = `unix:${join(lab.folder, 'sink.sock')}`;
    const words = ['load', 'sink', '--listen', `${NET_ADDRESS}:${SINK_PORT}`, '--control', control];
    const sink = lab.net.start('sink', [process.execPath, CLI, ...words]);
    await sink.line(/sink: ready/);
    const flags = [
      ...['--server', `${SERVER_OUTSIDE}:${SERVER_PORT}`, '--sink', `${NET_ADDRESS}:${SINK_PORT}`],
      ...['--sink-control', control, '--user', USER, '--password', PASSWORD],
      ...['--ca-cert', credentials.authority, '--server-name', SERVER_NAME, '--watch', String(server.pid)],
      ...(serverCommand.length > 0 ? [] : ['--server-state', stateFolder(lab, 'server')]),
    ];
    return { lab, flags, close: () => lab.close() };
  } catch (error) {
    await lab.close();
    throw error;
  }
}

/** Runs `ringway load` in the client's namespace, on this terminal. Ctrl-C reaches it by itself: it ends early and reports. @returns its exit code */
export function loadFrom(stage: Stage, words: readonly string[], quiet = false): Promise<number> {
  const command = [
    'ip',
    'netns',
    'exec',
    stage.lab.client.namespace,
    process.execPath,
    CLI,
    'load',
    ...words,
    ...stage.flags,
  ];
  const child = spawn(command[0], command.slice(1), { stdio: ['ignore', quiet ? 'ignore' : 'inherit', 'inherit'] });
  return new Promise((resolve, reject) => {
    child.once('error', (cause) =>
      reject(
        new RingwayError('LOAD_SELF', `the loader could not be started: ${cause.message}`, 'npm run setup', { cause }),
      ),
    );
    child.once('exit', (code, signal) => resolve(code ?? (signal === 'SIGINT' ? 130 : 1)));
  });
}

/** Set in the environment of whatever runs inside bin/private.sh. */
const INSIDE = 'RINGWAY_LOAD_PRIVATE';

export const isPrivate = (): boolean => process.env[INSIDE] === '1';

/** Runs this very command again inside bin/private.sh. @returns its exit code */
export function goPrivate(): Promise<number> {
  const script = fileURLToPath(new URL('../../bin/private.sh', import.meta.url));
  const child = spawn('sh', [script, process.execPath, ...process.argv.slice(1)], {
    stdio: 'inherit',
    env: { ...process.env, [INSIDE]: '1' },
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? (signal === 'SIGINT' ? 130 : 1)));
  });
}
