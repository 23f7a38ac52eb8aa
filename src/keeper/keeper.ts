/**
 * The keeper: opens what the kernel gives, starts the engine, answers its few requests, and undoes everything at the end. It never
 * opens a ring and never reads a byte from the network.
 */

import { type ChildProcess, spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { place } from '../config/problem.ts';
import type { Config } from '../config/types.ts';
import { RingwayError } from '../errors.ts';
import { launcherPath } from '../native/index.ts';
import { createLog, type Logger } from '../observe/log.ts';
import { dressDevice, goOnline, routeServer } from './client-host.ts';
import { COMPILED, shareCompiled } from './compiled.ts';
import { openControl, ownNamespace, type Question, type Reply, type Status } from './control.ts';
import type { Duty, Prepared } from './duty.ts';
import { inherit, launcher, type Program } from './engine-process.ts';
import type { Host } from './host.ts';
import { Journal, undoJournals } from './journal.ts';
import { type Kernel, offloadsInWords, tunForbidden } from './kernel.ts';
import { mendNames, whoseNames } from './names.ts';
import { dropPrivileges } from './privileges.ts';
import { type EngineMessage, KEEPER_PROTOCOL, type NetworkConfig } from './protocol.ts';
import type { Resources } from './resources.ts';
import { type Ending, type Start, Supervisor } from './supervisor.ts';

/** What a test replaces. */
export interface Means {
  readonly kernel: () => Kernel;
  readonly program: (role: 'server' | 'client', prefix: readonly string[]) => Program;
  readonly host: () => Host;
  readonly env: NodeJS.ProcessEnv;
  /** Says why a start or an instance has ended, before what it did to the host is undone. */
  readonly complain: (error: unknown) => void;
}

/**
 * Keeps one server or client until it is told to end.
 * @param signals emits SIGINT, SIGTERM and SIGHUP (the process, in the product)
 * @returns how it ended, once that was said; refusals before anything was opened are thrown
 */
export async function keep<C extends Config>(
  duty: Duty<C>,
  means: Means,
  signals: NodeJS.EventEmitter = process,
): Promise<Ending> {
  const keeper = new Keeper(duty, means);
  const stop = () => keeper.stop();
  const reload = () => keeper.reloadBySignal();
  signals.on('SIGINT', stop).on('SIGTERM', stop).on('SIGHUP', reload);
  try {
    return await keeper.run();
  } finally {
    signals.off('SIGINT', stop).off('SIGTERM', stop).off('SIGHUP', reload);
  }
}

class Keeper<C extends Config> {
  readonly #duty: Duty<C>;
  readonly #means: Means;
  readonly #host: Host;
  readonly #began = performance.now();
  #log: Logger = createLog('keeper', { logLevel: 'info', logFormat: 'full' });
  #config: C | undefined;
  #kernel: Kernel | undefined;
  #resources: Resources | undefined;
  #supervisor: Supervisor | undefined;
  #monitor: ChildProcess | undefined;
  #ready = false;
  #kept: readonly string[] = [];
  #stopped = false;
  /** Ends the wait for a name server, which may be half a minute. */
  readonly #interrupt = new AbortController();

  constructor(duty: Duty<C>, means: Means) {
    this.#duty = duty;
    this.#means = means;
    this.#host = means.host();
  }

  // ---- from the first line to the last ----------------------------------------------------------------------------

  async run(): Promise<Ending> {
    const { role } = this.#duty;
    this.#kernel = this.#means.kernel();
    this.#kernel.forbidDumps(); // from here on there are secrets
    const { config, notices } = this.#duty.load();
    this.#config = config;
    this.#log = createLog('keeper', config);
    for (const { message, origin, code } of notices) this.#log.warn({ code, at: place(origin) }, message);
    if (config.role === 'client') this.#clearUp(config.state);
    let control: { close(): void } | undefined;
    try {
      const prepared = await Promise.race([this.#prepare(config), aborted(this.#interrupt.signal)]);
      if (!prepared) return { exitCode: 0 };
      this.#resources = await prepared.open(this.#kernel);
      const { tun, tunExisted, notes } = this.#resources;
      for (const note of notes) this.#log.warn(note);
      if (config.role === 'client') dressDevice(this.#host, tun.name, config, tunExisted);
      this.#supervisor = this.#supervise(config, prepared);
      control = await this.#openControl(config.state, role);
      if (this.#stopped) return { exitCode: 0 };
      const ending = await this.#supervisor.run();
      if (ending.error) this.#means.complain(ending.error);
      return ending;
    } catch (error) {
      if (!this.#resources) throw error;
      this.#means.complain(error);
      return { exitCode: 1 };
    } finally {
      this.#stopped = true;
      this.#monitor?.kill();
      control?.close();
      this.#host.undo();
      this.#resources?.close();
      if (this.#resources || this.#interrupt.signal.aborted) this.#log.info('stopped');
    }
  }

  /** What a client that was killed left on this host goes before a name is looked up; and what this one changes is written down. */
  #clearUp(state: string): void {
    const { shell } = this.#host;
    const killed = { code: 'HOST_LEFTOVERS' };
    for (const { pid, undone } of undoJournals(shell, state))
      if (undone.length > 0) this.#log.warn({ ...killed, process: pid, undone }, 'undid what a killed client had left');
    try {
      const mended = mendNames(shell);
      if (mended?.restored)
        this.#log.warn({ ...killed, process: mended.pid }, 'put back what /etc/resolv.conf was before a killed client');
      else if (mended) {
        const advice = 'write your own name servers into it';
        this.#log.warn(
          { code: 'NAMES_LOST', advice },
          "/etc/resolv.conf is a killed client's, and what it was is lost",
        );
      }
    } catch (cause) {
      this.#log.warn({ code: 'NAMES_REFUSED' }, `cannot put /etc/resolv.conf right: ${(cause as Error).message}`);
    }
    this.#host.writeDown(new Journal(state, ({ code, message, advice }) => this.#log.warn({ code, advice }, message)));
  }

  #prepare(config: C): Promise<Prepared<C>> {
    return this.#duty.prepare(config, {
      signal: this.#interrupt.signal,
      say: (line) => this.#log.info(line),
      beforeNames: () => {
        const refusal = this.#resources ? undefined : tunForbidden(config.tunName ?? '');
        if (refusal) throw refusal;
      },
      whoseNames: () => whoseNames(this.#host.shell),
    });
  }

  #supervise(config: C, prepared: Prepared<C>): Supervisor {
    const { descriptors, tun } = this.#resources as Resources;
    const entry = this.#means.program(config.role, []).entry;
    const privileges = dropPrivileges(config.runAs, launcherPath(), [entry, process.execPath]);
    const { summary, advice } = privileges;
    if (advice) this.#log.warn({ code: 'ENGINE_ROOT', advice }, summary);
    else this.#log.info(summary);
    this.#log.info({ tun: tun.name, offloads: offloadsInWords(tun.offloads) }, 'the TUN device is open');
    const { order } = inherit(descriptors);
    const program = this.#means.program(config.role, privileges.prefix);
    const launch = launcher(program, order, { ...this.#means.env, NODE_COMPILE_CACHE: COMPILED });
    return new Supervisor(this.#startOf(prepared), {
      launch: (heard) => {
        shareCompiled(privileges.uid); // set-up may have run since
        return launch(heard);
      },
      heard: (message) => this.#heard(message),
      log: this.#log,
      now: () => performance.now(),
      after: (ms, then) => {
        const timer = setTimeout(then, ms);
        return () => clearTimeout(timer);
      },
    });
  }

  #startOf(prepared: Prepared<C>): Start {
    const { descriptors, tun } = this.#resources as Resources;
    const { theirs } = inherit(descriptors);
    return (generation, restart) =>
      prepared.start({ type: 'start', version: KEEPER_PROTOCOL, generation, restart, descriptors: theirs, tun });
  }

  // ---- what the engine says -----------------------------------------------------------------------------------------

  #heard(message: EngineMessage): void {
    switch (message.type) {
      case 'ready':
        this.#ready = true;
        this.#kernel?.notifySystemd('READY=1');
        this.#log.info(this.#duty.role === 'client' ? 'started, connecting' : 'ready'); // a client says `online` itself
        break;
      case 'clientOnline':
        this.#online(message.networkConfig);
        break;
    }
  }

  #online(network: NetworkConfig): void {
    const config = this.#config as C;
    if (config.role !== 'client') return;
    const { name } = (this.#resources as Resources).tun;
    try {
      const { isBeside, namesRefused } = goOnline(this.#host, name, config, network);
      if (isBeside) {
        const advice = 'ringway: { ipv6: block } keeps it from the network while connected';
        this.#log.warn({ code: 'IPV6_BESIDE', advice }, 'IPv6 goes beside the tunnel, which carries IPv4 alone');
      }
      if (namesRefused !== undefined) this.#complain(namesRefused);
      else if (config.routeMode !== 'noexec' || config.dnsConfigMode !== 'noexec')
        this.#log.info({ routes: config.routeMode, names: config.dnsConfigMode }, 'routes and name server are set');
      if (config.routeMode !== 'noexec') this.#watchDefaultRoute(name, network.serverAddress, config.ipv6);
    } catch (error) {
      this.#complain(error);
    }
  }

  #complain(error: unknown): void {
    const { code, message, advice } = asRingwayError(error);
    this.#log.error({ code, advice }, message);
  }

  /** The route to the server follows the default route. */
  #watchDefaultRoute(tun: string, serverAddress: string, ipv6: 'leave' | 'block'): void {
    this.#monitor?.kill();
    const family = serverAddress.includes(':') ? '-6' : '-4';
    const monitor = spawn('ip', [family, 'monitor', 'route'], { stdio: ['ignore', 'pipe', 'ignore'] });
    this.#monitor = monitor;
    monitor.once('error', () => {});
    createInterface({ input: monitor.stdout }).on('line', (line) => {
      if (!/^(?:Deleted )?default\b/.test(line) || this.#stopped) return;
      try {
        routeServer(this.#host, tun, serverAddress, ipv6);
        this.#log.info('the default route has changed: the route to the server follows');
      } catch (error) {
        this.#log.warn({ code: asRingwayError(error).code }, asRingwayError(error).message);
      }
    });
  }

  // ---- what the operator says ---------------------------------------------------------------------------------------

  stop(): void {
    this.#stopped = true;
    this.#interrupt.abort();
    this.#kernel?.notifySystemd('STOPPING=1');
    this.#supervisor?.stop();
  }

  reloadBySignal(): void {
    this.#reload().catch((error) => {
      const { code, message, advice } = asRingwayError(error);
      this.#log.error({ code, advice }, `reload: ${message}`);
    });
  }

  async #reload(): Promise<void> {
    const supervisor = this.#supervisor;
    if (!supervisor || !this.#config) throw new RingwayError('RELOAD_BUSY', 'still starting', 'try again in a second');
    const loaded = this.#duty.load();
    const { config, kept } = this.#duty.carryOver(this.#config, loaded.config);
    for (const { message, origin, code } of loaded.notices) this.#log.warn({ code, at: place(origin) }, message);
    this.#kept = kept.map(asWritten);
    for (const setting of this.#kept)
      this.#log.warn({ code: 'CONFIG_NEEDS_RESTART', setting }, `${setting} stays as it was until the next start`);
    const prepared = await this.#prepare(config);
    this.#ready = false;
    await supervisor.reload(this.#startOf(prepared));
    this.#config = config;
    this.#log.info({ generation: supervisor.engine.generation }, 'reloaded');
  }

  async #openControl(folder: string, role: 'server' | 'client'): Promise<{ close(): void } | undefined> {
    try {
      return await openControl(folder, role, (question) => this.#answer(question));
    } catch (error) {
      const { code, message, advice } = asRingwayError(error);
      this.#log.warn({ code, advice }, message);
      return undefined;
    }
  }

  async #answer(question: Question): Promise<Reply> {
    if (question.command === 'reload') await this.#reload();
    if (question.command !== 'statistics') return { ok: true, status: this.#status() };
    const statistics = (await this.#supervisor?.statistics()) ?? null;
    return { ok: true, status: this.#status(), statistics };
  }

  #status(): Status {
    const engine = this.#supervisor?.engine;
    return {
      role: this.#duty.role,
      pid: process.pid,
      namespace: ownNamespace(),
      configFile: resolve(this.#config?.configFile ?? ''), // whoever asks is in another directory
      tun: this.#resources?.tun.name ?? '',
      enginePid: engine?.pid ?? null,
      generation: engine?.generation ?? 0,
      deaths: engine?.deaths ?? 0,
      upSeconds: Math.round((performance.now() - this.#began) / 1000),
      kept: this.#kept,
      ready: this.#ready,
    };
  }
}

function aborted(signal: AbortSignal): Promise<undefined> {
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(undefined)));
}

/** A setting as configuration files have it. */
function asWritten(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function asRingwayError(error: unknown): RingwayError {
  if (error instanceof RingwayError) return error;
  return new RingwayError('UNEXPECTED', (error as Error).message, 'report this', { cause: error });
}
