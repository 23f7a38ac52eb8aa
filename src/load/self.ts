/**
 * `--self`: a server under load, a sink behind it and the loader, each in a network namespace of its own, with an authority, a
 * certificate and a user made on the spot. Runs inside bin/private.sh, so that namespaces and processes go with it, however it ends.
 */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RingwayError } from '../errors.ts';
import { createCredentials, PASSWORD, SERVER_NAME, USER, useCheapHash } from '../lab/credentials.ts';
import { Lab, NET_ADDRESS, SERVER_OUTSIDE } from '../lab/hosts.ts';
import { kill, processTree } from '../lab/programs.ts';
import { ringway, SERVER_DEVICE, startServer, stateFolder } from '../lab/tunnel.ts';
import type { Scenario } from './scenario.ts';

const SERVER_PORT = 27690;
const SINK_PORT = 5201;
const CLI = fileURLToPath(new URL('../cli/main.ts', import.meta.url));

/** The client's network is a /24, in which both ends have one already. */
export const MOST_ADDRESSES = 200;
const FIRST_ADDRESS = 16;

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
  /** How many outside addresses the clients share: a server spreads strangers over its shards by their addresses. */
  readonly addresses: number;
  /** CPU lists as of taskset: the server's, and those of loader and sink; undefined: any. */
  readonly serverCpus: string | undefined;
  readonly loaderCpus: string | undefined;
}

/** Where the parts of a lab are to be found, for a loader inside its client namespace. */
export interface Stage {
  readonly lab: Lab;
  readonly flags: readonly string[];
  readonly loaderCpus: string | undefined;
  close(): Promise<void>;
}

/** @throws RingwayError LAB_SILENT, with the last lines of whatever did not come up */
export async function setStage(options: SelfOptions): Promise<Stage> {
  const { scenario, serverCommand, serverFlags, serverKeys, tunSettings, serverCpus, loaderCpus } = options;
  const lab = await Lab.create();
  try {
    const credentials = await createCredentials(lab.folder);
    await useCheapHash(credentials);
    const end =
      serverCommand.length > 0
        ? { command: serverCommand, flags: serverFlags, keys: serverKeys }
        : ringway(lab, 'server', serverFlags, serverKeys);
    const pinned = { ...end, command: [...pin(serverCpus), ...end.command] };
    const tunnel = { mode: scenario.transport, expresslane: scenario.expresslane, credentials };
    const server = await startServer(lab, { ...tunnel, server: pinned, client: pinned });
    await lab.server.run('ip', 'link', 'set', SERVER_DEVICE, 'mtu', '1350', ...tunSettings);
    const addresses = await addAddresses(lab, options.addresses);
    const control = `unix:${join(lab.folder, 'sink.sock')}`;
    const words = ['load', 'sink', '--listen', `${NET_ADDRESS}:${SINK_PORT}`, '--control', control];
    const sink = lab.net.start('sink', [...pin(loaderCpus), process.execPath, CLI, ...words]);
    await sink.line(/sink: ready/);
    const flags = [
      ...['--server', `${SERVER_OUTSIDE}:${SERVER_PORT}`, '--sink', `${NET_ADDRESS}:${SINK_PORT}`],
      ...['--sink-control', control, '--user', USER, '--password', PASSWORD],
      ...['--ca-cert', credentials.authority, '--server-name', SERVER_NAME, '--watch', String(server.pid)],
      ...['--from', addresses.join()],
      ...(serverCommand.length > 0 ? [] : ['--server-state', stateFolder(lab, 'server')]),
    ];
    return { lab, flags, loaderCpus, close: () => lab.close() };
  } catch (error) {
    await lab.close();
    throw error;
  }
}

async function addAddresses(lab: Lab, count: number): Promise<string[]> {
  const addresses = Array.from({ length: count }, (_, i) => `10.9.0.${FIRST_ADDRESS + i}`);
  for (const address of addresses) await lab.client.run('ip', 'address', 'add', `${address}/24`, 'dev', 'c0');
  return addresses;
}

const pin = (cpus: string | undefined): string[] => (cpus === undefined ? [] : ['taskset', '-c', cpus]);

/** Runs `ringway load` in the client's namespace, on this terminal. A signal makes it end early and report. @returns its exit code */
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
  const forward = (signal: NodeJS.Signals) => child.kill(signal);
  for (const signal of SIGNALS) process.on(signal, forward);
  return new Promise((resolve, reject) => {
    child.once('error', (cause) =>
      reject(
        new RingwayError('LOAD_SELF', `the loader could not be started: ${cause.message}`, 'npm run setup', { cause }),
      ),
    );
    child.once('exit', (code, signal) => {
      for (const each of SIGNALS) process.off(each, forward);
      resolve(code ?? (signal === 'SIGINT' ? 130 : 1));
    });
  });
}

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Set in the environment of whatever runs inside bin/private.sh. */
const INSIDE = 'RINGWAY_LOAD_PRIVATE';

export const isPrivate = (): boolean => process.env[INSIDE] === '1';

/**
 * Runs this very command again inside bin/private.sh. It has a process group of its own, since Ctrl-C would end unshare at once, and
 * everything with it: the command alone hears of it. When this process is killed, so is unshare, and with it all that is inside.
 * @returns its exit code
 */
export function goPrivate(): Promise<number> {
  const script = fileURLToPath(new URL('../../bin/private.sh', import.meta.url));
  const words = ['--pdeathsig', 'KILL', 'sh', script, process.execPath, ...process.argv.slice(1)];
  const child = spawn('setpriv', words, { stdio: 'inherit', detached: true, env: { ...process.env, [INSIDE]: '1' } });
  for (const signal of SIGNALS) {
    process.on(signal, () => {
      const [, , command] = processTree(child.pid ?? 0); // unshare, the sh that mounted, the command
      if (command !== undefined) kill(command, signal);
    });
  }
  return new Promise((resolve, reject) => {
    child.once('error', (cause) =>
      reject(new RingwayError('LOAD_SELF', `no namespaces of its own: ${cause.message}`, 'npm run setup', { cause })),
    );
    child.once('exit', (code) => resolve(code ?? 1));
  });
}
