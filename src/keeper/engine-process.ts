/** One engine as the keeper sees it: a process that inherits descriptors and talks over Node's channel. */
import { spawn } from 'node:child_process';
import type { Duplex } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { listen } from './channel.ts';
import type { Descriptors, EngineMessage, KeeperMessage } from './protocol.ts';

/** How a process ended: one of the two is null. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** Why it was killed, where it was for what it said. */
  readonly refused?: string;
}

export interface EngineProcess {
  readonly pid: number | undefined;
  /** Settles once, also when the program could not be started at all. */
  readonly exited: Promise<Exit>;
  /** Does nothing when the process is gone. */
  send(message: KeeperMessage): void;
  kill(): void;
}

/** Starts an engine; what it says goes to `heard`. */
export type Launch = (heard: (message: EngineMessage) => void) => EngineProcess;

export interface Program {
  /** What gives up privileges and becomes the engine. */
  readonly prefix: readonly string[];
  readonly node: string;
  readonly flags: readonly string[];
  readonly entry: string;
}

const CHANNEL = 3; // 0 to 2 are the standard ones
const FIRST_DESCRIPTOR = 4;
const QUIET = '--disable-warning=ExperimentalWarning';

/** The engine's program of a role, on the Node that runs the keeper. */
export function engineProgram(role: 'server' | 'client', prefix: readonly string[]): Program {
  const entry = fileURLToPath(new URL(`../${role}/engine.ts`, import.meta.url));
  return { prefix, node: process.execPath, flags: [QUIET], entry };
}

export function launcher(program: Program, descriptors: readonly number[], env: NodeJS.ProcessEnv): Launch {
  const [command, ...args] = [...program.prefix, program.node, ...program.flags, program.entry];
  return (heard) => {
    const child = spawn(command, args, {
      // Not 'ipc': a line that is no JSON would be an exception of the keeper's that nobody can catch.
      stdio: ['ignore', 'inherit', 'inherit', 'pipe', ...descriptors],
      env: { ...withoutSecrets(env), NODE_CHANNEL_FD: String(CHANNEL), NODE_CHANNEL_SERIALIZATION_MODE: 'json' },
      cwd: '/',
      detached: true, // a session of its own: Ctrl-C is the keeper's to answer
    });
    const channel = child.stdio[CHANNEL] as Duplex | null | undefined; // none, where there is no process
    let refused: { refused?: string } = {};
    const exited = new Promise<Exit>((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal, ...refused }));
      // also said of a signal that may not be sent, and then more than once
      child.on('error', () => {
        if (child.pid === undefined) resolve({ code: 127, signal: null });
      });
    });
    if (channel)
      listen(channel, heard, (error) => {
        refused = { refused: `${error.message} [${error.code}]` };
        child.kill('SIGKILL');
      });
    return {
      pid: child.pid,
      exited,
      send: (message) => {
        if (channel?.writable) channel.write(`${JSON.stringify(message)}\n`);
      },
      kill: () => void child.kill('SIGKILL'),
    };
  };
}

/** Descriptors in the order they are inherited, and the same under the numbers they will have there. */
export function inherit(own: Descriptors): { order: number[]; theirs: Descriptors } {
  const order: number[] = [];
  const pass = (descriptor: number) => (descriptor < 0 ? descriptor : FIRST_DESCRIPTOR + order.push(descriptor) - 1);
  const theirs: Descriptors = {
    tun: own.tun.map(pass),
    udp: own.udp.map(pass),
    doors: own.doors.map(pass),
    tcp: own.tcp.map(pass),
    table: { ...own.table, public: pass(own.table.public), secret: pass(own.table.secret) },
    steering: own.steering && { ...own.steering, map: pass(own.steering.map) },
    filter: own.filter && { ...own.filter, map: pass(own.filter.map) },
    tunShares: own.tunShares && { map: pass(own.tunShares.map) },
  };
  return { order, theirs };
}

/** LW_CLIENT_PASSWORD and its like were for the keeper; everybody who may look into /proc sees an environment. */
export function withoutSecrets(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^(?:LW_SERVER_|LW_CLIENT_)/.test(name)));
}
