/** A server and a client in a lab, with the configuration files the stock programs read, and traffic through the tunnel they make. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Credentials, PASSWORD, SERVER_NAME, USER } from './credentials.ts';
import { type Lab, NET_ADDRESS, NET_NETWORK, SERVER_OUTSIDE } from './hosts.ts';
import { cpuSeconds, type Program, processTree } from './programs.ts';
import { type QueryResult, TRANSFER_PROGRAM, type TransferResult } from './transfer.ts';

export const SERVER_DEVICE = 'lws';
export const CLIENT_DEVICE = 'lwc';
const SERVER_INSIDE = '10.125.0.1';
const CLIENT_INSIDE = '100.64.0.6';
const PORT_NUMBER = 27690;
const TRANSFER_PORT_NUMBER = 4000;

/** `bin/ringway` of this checkout. */
export const RINGWAY = fileURLToPath(new URL('../../bin/ringway', import.meta.url));

/** A second here; on a machine that does ten other things, many. */
const STARTED_WITHIN_MS = 40_000;

type Keys = Readonly<Record<string, string | number | boolean>>;

/** How one end is started and told what to do. */
export interface EndOptions {
  /** Program and first arguments; `-c FILE` and `flags` follow. */
  readonly command: readonly string[];
  readonly flags?: readonly string[];
  /** Keys of the configuration file beside or instead of the usual ones. */
  readonly keys?: Keys;
  /** The line that says it is ready; without one, a server is ready when its device is there. */
  readonly ready?: RegExp;
}

export interface TunnelOptions {
  readonly mode: 'udp' | 'tcp';
  readonly expresslane: boolean;
  readonly credentials: Credentials;
  readonly server: EndOptions;
  readonly client: EndOptions;
}

/** Ringway at one end, its control socket in a folder of its own below the lab's. */
export function ringway(
  lab: Lab,
  role: 'server' | 'client',
  flags: readonly string[] = [],
  keys: Keys = {},
): EndOptions {
  return {
    command: [RINGWAY, role],
    flags: ['--state', stateFolder(lab, role), ...flags],
    keys,
    ready: role === 'client' ? /keeper: started/ : /keeper: ready/,
  };
}

/** Where `ringway status --state` finds that end. */
export function stateFolder(lab: Lab, role: 'server' | 'client'): string {
  return join(lab.folder, `state-${role}`);
}

function yaml(keys: Keys): string {
  return Object.entries(keys)
    .map(([key, value]) => `${key}: ${value}\n`)
    .join('');
}

async function writeConfiguration(lab: Lab, name: string, keys: Keys): Promise<string> {
  const file = join(lab.folder, `${name}.yaml`);
  await writeFile(file, yaml(keys), { mode: 0o600 });
  return file;
}

/** Starts the server, waits until its device is there, and gives the device what the server leaves to its operator: address and "up". */
export async function startServer(
  lab: Lab,
  { mode, expresslane, credentials, server }: TunnelOptions,
): Promise<Program> {
  const file = await writeConfiguration(lab, 'server', {
    mode,
    bind_address: `0.0.0.0:${PORT_NUMBER}`,
    server_cert: credentials.certificate,
    server_key: credentials.key,
    user_db: credentials.users,
    tun_name: SERVER_DEVICE,
    ip_pool: '10.125.0.0/16',
    tun_ip: SERVER_INSIDE,
    enable_expresslane: expresslane,
    log_level: 'info',
    ...server.keys,
  });
  const program = lab.server.start('server', [...server.command, '-c', file, ...(server.flags ?? [])]);
  const ready = [
    lab.server.device(SERVER_DEVICE),
    ...(server.ready ? [program.line(server.ready, STARTED_WITHIN_MS)] : []),
  ];
  await Promise.race([Promise.all(ready), endedEarly(program)]);
  await lab.server.run('ip', 'address', 'replace', `${SERVER_INSIDE}/16`, 'dev', SERVER_DEVICE);
  await lab.server.run('ip', 'link', 'set', SERVER_DEVICE, 'up');
  return program;
}

/** Starts the client and waits for nothing: how it fares is the caller's question. */
export async function startClient(
  lab: Lab,
  { mode, expresslane, credentials, client }: TunnelOptions,
): Promise<Program> {
  const file = await writeConfiguration(lab, 'client', {
    server: `${SERVER_OUTSIDE}:${PORT_NUMBER}`,
    mode,
    ca_cert: credentials.authority,
    server_dn: SERVER_NAME,
    user: USER,
    password: PASSWORD,
    tun_name: CLIENT_DEVICE,
    tun_local_ip: CLIENT_INSIDE,
    tun_peer_ip: '100.64.0.5',
    tun_dns_ip: '100.64.0.1',
    cipher: 'aes256',
    keyshare: 'x25519mlkem768',
    outside_mtu: 1500,
    enable_expresslane: expresslane,
    route_mode: 'noexec',
    dns_config_mode: 'noexec',
    log_level: 'info',
    ...client.keys,
  });
  return lab.client.start('client', [...client.command, '-c', file, ...(client.flags ?? [])]);
}

async function endedEarly(program: Program): Promise<never> {
  const { code, signal } = await program.exited;
  throw program.complaint(`ended (${signal ?? `exit code ${code}`})`);
}

/** A tunnel that carries traffic from the lab's client to its net. */
export class Tunnel {
  readonly lab: Lab;
  readonly server: Program;
  readonly client: Program;
  readonly #service: Program;

  private constructor(lab: Lab, server: Program, client: Program, service: Program) {
    this.lab = lab;
    this.server = server;
    this.client = client;
    this.#service = service;
  }

  /** @throws RingwayError LAB_SILENT, with the last lines of the end that failed, when no ping comes through */
  static async start(lab: Lab, options: TunnelOptions): Promise<Tunnel> {
    const running = lab.programs.length;
    try {
      return await Tunnel.#start(lab, options);
    } catch (error) {
      await lab.stopSince(running); // half a tunnel would carry the traffic of the next one
      throw error;
    }
  }

  static async #start(lab: Lab, options: TunnelOptions): Promise<Tunnel> {
    const server = await startServer(lab, options);
    const client = await startClient(lab, options);
    await Promise.race([lab.client.device(CLIENT_DEVICE), endedEarly(client)]);
    await lab.client.run('ip', 'address', 'replace', `${CLIENT_INSIDE}/32`, 'dev', CLIENT_DEVICE);
    await lab.client.run('ip', 'link', 'set', CLIENT_DEVICE, 'up');
    await lab.client.run('ip', 'route', 'replace', NET_NETWORK, 'dev', CLIENT_DEVICE, 'src', CLIENT_INSIDE);
    const service = startService(lab);
    await service.line(/^serving/);
    const tunnel = new Tunnel(lab, server, client, service);
    if (!(await tunnel.carries(15)))
      throw client.complaint(`no ping came through; the server said:\n  ${server.lines.slice(-12).join('\n  ')}`);
    return tunnel;
  }

  /** Whether a ping comes back within `seconds`; one is sent every 100 ms until then. */
  async carries(seconds: number): Promise<boolean> {
    const ping = ['ping', '-n', '-q', '-c', '1', '-i', '0.1', '-w', String(seconds), NET_ADDRESS];
    return (await this.lab.client.outcome(ping, (seconds + 5) * 1000)).code === 0;
  }

  /** @returns how many of `count` pings, 10 ms apart, came back */
  async ping(count: number): Promise<number> {
    const words = ['-n', '-c', String(count), '-i', '0.01'];
    // without -w it would wait for the last reply no longer than an interval, or twice the slowest before; with it, it sends on until enough have come
    words.push('-w', String(2 + Math.ceil(count / 50)));
    const { stdout } = await this.lab.client.outcome(['ping', ...words, NET_ADDRESS]);
    const replies = [...stdout.matchAll(/icmp_seq=(\d+) ttl/g)].map(([, number]) => Number(number));
    return new Set(replies.filter((number) => number <= count)).size;
  }

  /** @returns the median round trip of 20 pings through the idle tunnel, in milliseconds */
  async roundTrip(): Promise<number> {
    const output = await this.lab.client.run('ping', '-n', '-c', '20', '-i', '0.02', NET_ADDRESS);
    const times = [...output.matchAll(/time=([\d.]+) ms/g)].map(([, time]) => Number(time)).sort((a, b) => a - b);
    return times[Math.floor(times.length / 2)];
  }

  /** UDP questions and answers of 30 to 512 bytes. */
  queries(count: number, seed: number): Promise<QueryResult> {
    return this.#transfer('queries', count, seed);
  }

  /** One TCP flow of `bytes` bytes: up is client to net. */
  transfer(direction: 'up' | 'down', bytes: number, seed: number): Promise<TransferResult> {
    return this.#transfer(direction, bytes, seed);
  }

  /** Begins a transfer. @returns once a quarter of it has moved; `result` settles with its end */
  async transferUnderWay(
    direction: 'up' | 'down',
    bytes: number,
    seed: number,
  ): Promise<{ result: Promise<TransferResult> }> {
    const program = this.lab.client.start('transfer', transferCommand(direction, bytes, seed));
    await program.line(/^a quarter/, 60_000);
    const result = program.line(/^\{/, 90_000).then((line) => JSON.parse(line) as TransferResult);
    result.catch(() => {}); // whoever asks for it gets the rejection; nobody has to
    return { result };
  }

  /** Process ids of a keeper's engines: its children. */
  engines(end: 'server' | 'client'): number[] {
    return processTree(this[end].pid).slice(1);
  }

  async #transfer<T>(what: string, amount: number, seed: number): Promise<T> {
    return JSON.parse(await this.lab.client.run(...transferCommand(what, amount, seed))) as T;
  }

  /** CPU seconds of both ends so far. */
  cpu(): { server: number; client: number } {
    return { server: cpuSeconds(this.server.pid), client: cpuSeconds(this.client.pid) };
  }

  /** Client first, so that it can say Goodbye. @returns both exit codes */
  async stop(): Promise<{ client: number | null; server: number | null }> {
    const client = await this.client.stop();
    const server = await this.server.stop();
    await this.#service.stop();
    return { client: client.code, server: server.code };
  }
}

/** The far end of every transfer, on the net. */
export function startService(lab: Lab): Program {
  return lab.net.start('service', [process.execPath, TRANSFER_PROGRAM, 'serve', String(TRANSFER_PORT_NUMBER)]);
}

export function transferCommand(what: string, amount: number, seed: number, address = NET_ADDRESS): string[] {
  return [
    process.execPath,
    TRANSFER_PROGRAM,
    what,
    address,
    String(TRANSFER_PORT_NUMBER),
    String(amount),
    String(seed),
  ];
}
