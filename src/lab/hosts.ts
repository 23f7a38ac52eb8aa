/**
 * Three hosts on one machine: network namespaces, joined by veth pairs.
 *
 *     client  10.9.0.1 ── 10.9.0.2  server  10.99.0.1 ── 10.99.0.2  net
 *
 * The server forwards; the net's way back to anything leads through it. Nothing outside the three namespaces is touched.
 */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Finished, outcomeOf, Program, run } from './programs.ts';

export const SERVER_OUTSIDE = '10.9.0.2';
export const NET_ADDRESS = '10.99.0.2';
export const NET_NETWORK = '10.99.0.0/24';

export interface DeviceCounters {
  readonly bytesIn: number;
  readonly packetsIn: number;
  readonly bytesOut: number;
  readonly packetsOut: number;
  readonly droppedOut: number;
}

/** One host of a lab. */
export class Host {
  readonly name: string;
  readonly namespace: string;
  readonly #lab: Lab;
  readonly #monitor: Program;

  constructor(lab: Lab, name: string, namespace: string) {
    this.#lab = lab;
    this.name = name;
    this.namespace = namespace;
    this.#monitor = lab.start(`${name} link monitor`, this.#inside(['ip', '-o', 'monitor', 'link']));
  }

  #inside(command: readonly string[]): string[] {
    return ['ip', 'netns', 'exec', this.namespace, ...command];
  }

  /** Runs to the end on this host. @returns what it printed. @throws RingwayError LAB_PROGRAM when it fails */
  run(...command: string[]): Promise<string> {
    return run(this.#inside(command));
  }

  /** Runs to the end on this host, whatever the exit code is. */
  outcome(command: readonly string[], timeoutMs?: number): Promise<Finished> {
    return outcomeOf(this.#inside(command), timeoutMs);
  }

  start(name: string, command: readonly string[], env?: Readonly<Record<string, string>>): Program {
    return this.#lab.start(name, this.#inside(command), env);
  }

  /**
   * The kernel's announcements are heard from when this returns. `ip monitor` does not say when it begins to listen, so a
   * harmless change is announced until one is heard.
   */
  async listen(): Promise<void> {
    for (let i = 0; this.#monitor.lines.length === 0 && i < 200; i++)
      await this.run('ip', 'link', 'set', 'lo', 'alias', `lab ${i}`);
    await this.#monitor.line(/lo:/, 1_000);
  }

  /** Waits until a network device is there. @throws RingwayError LAB_SILENT after `timeoutMs` */
  async device(name: string, timeoutMs = 15_000): Promise<void> {
    const heard = this.#monitor.lines.length; // what was announced before may be gone again
    if ((await this.outcome(['ip', 'link', 'show', name])).code === 0) return;
    await this.#monitor.line(new RegExp(`^(?!Deleted).*\\b${name}[:@]`), timeoutMs, heard);
  }

  /** Counters of a device, from the kernel's table of this namespace. Superpackets count as one packet. */
  counters(device: string): DeviceCounters {
    const table = readFileSync(`/proc/${this.#monitor.pid}/net/dev`, 'utf8');
    const row = table.split('\n').find((line) => line.trimStart().startsWith(`${device}:`));
    const figures =
      row
        ?.slice(row.indexOf(':') + 1)
        .trim()
        .split(/\s+/)
        .map(Number) ?? [];
    const [bytesIn = 0, packetsIn = 0] = figures;
    return { bytesIn, packetsIn, bytesOut: figures[8] ?? 0, packetsOut: figures[9] ?? 0, droppedOut: figures[11] ?? 0 };
  }
}

/** Everything one experiment uses, and the one place that clears it away. */
export class Lab {
  /** Scratch folder, private to this user. */
  readonly folder: string;
  /** Everything started so far, oldest first; what has ended stays. */
  readonly programs: Program[] = [];
  readonly #namespaces: string[] = [];
  readonly #abandon = () => this.#kill();
  client!: Host;
  server!: Host;
  net!: Host;

  private constructor(folder: string) {
    this.folder = folder;
  }

  /** @throws RingwayError LAB_PROGRAM where namespaces cannot be made; nothing is left then */
  static async create(): Promise<Lab> {
    const lab = new Lab(await mkdtemp(join(tmpdir(), 'ringway-lab-')));
    process.on('exit', lab.#abandon);
    try {
      await lab.#build();
      return lab;
    } catch (error) {
      await lab.close();
      throw error;
    }
  }

  async #build(): Promise<void> {
    const prefix = `rw-${process.pid}-${++labs}`;
    for (const name of ['client', 'server', 'net'] as const) {
      const namespace = `${prefix}-${name}`;
      await run(['ip', 'netns', 'add', namespace]);
      this.#namespaces.push(namespace);
      this[name] = new Host(this, name, namespace);
      await this[name].run('ip', 'link', 'set', 'lo', 'up');
      await this[name].listen();
    }
    await this.#join(this.client, 'c0', '10.9.0.1/24', this.server, 's0', `${SERVER_OUTSIDE}/24`);
    await this.#join(this.server, 's1', '10.99.0.1/24', this.net, 'n0', `${NET_ADDRESS}/24`);
    await this.net.run('ip', 'route', 'add', 'default', 'via', '10.99.0.1');
    await this.server.run('sysctl', '-qw', 'net.ipv4.ip_forward=1');
  }

  async #join(
    left: Host,
    leftDevice: string,
    leftAddress: string,
    right: Host,
    rightDevice: string,
    rightAddress: string,
  ) {
    const ends = ['netns', left.namespace, 'type', 'veth', 'peer', 'name', rightDevice, 'netns', right.namespace];
    await run(['ip', 'link', 'add', leftDevice, ...ends]);
    for (const [host, device, address] of [
      [left, leftDevice, leftAddress],
      [right, rightDevice, rightAddress],
    ] as const) {
      await host.run('ip', 'address', 'add', address, 'dev', device);
      await host.run('ip', 'link', 'set', device, 'up');
    }
  }

  /** Starts a program that ends with the lab at the latest. */
  start(name: string, command: readonly string[], env?: Readonly<Record<string, string>>): Program {
    const program = new Program(name, command, env);
    this.programs.push(program);
    return program;
  }

  /** Stops what was started since there were `from` programs, newest first. */
  async stopSince(from: number): Promise<void> {
    for (const program of this.programs.slice(from).reverse()) await program.stop();
  }

  /** Stops every program, newest first, and removes the namespaces and the folder. May be called twice. */
  async close(): Promise<void> {
    await this.stopSince(0);
    for (const namespace of this.#namespaces.splice(0)) await outcomeOf(['ip', 'netns', 'delete', namespace]);
    if (existsSync(this.folder)) rmSync(this.folder, { recursive: true });
    process.off('exit', this.#abandon);
  }

  /** The process is going without close(): what can be done without waiting. The namespaces go with bin/private.sh. */
  #kill(): void {
    for (const program of this.programs) program.killNow();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

let labs = 0;
