/** Programs of the lab: run to the end, or started, watched by their lines, and stopped. None outlives the lab that started it. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { RingwayError } from '../errors.ts';

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

const SET_UP = 'run: npm run setup (it installs what the lab needs)';
const LOOK = 'run: bin/ringway doctor (it says what this machine lacks)';

/** Runs to the end, whatever the exit code is. @throws RingwayError LAB_PROGRAM when it cannot be started or outlives `timeoutMs` */
export function outcomeOf(command: readonly string[], timeoutMs = 60_000): Promise<Finished> {
  const [file, ...args] = command;
  const options = { timeout: timeoutMs, killSignal: 'SIGKILL', maxBuffer: 1 << 26 } as const;
  return new Promise((resolve, reject) => {
    execFile(file, args, options, (error, stdout, stderr) => {
      const code = error === null ? 0 : error.code;
      if (typeof code === 'number') return resolve({ code, stdout, stderr });
      const why = error?.killed ? `did not end within ${timeoutMs} ms` : error?.message;
      const advice = code === 'ENOENT' ? SET_UP : LOOK;
      reject(new RingwayError('LAB_PROGRAM', `${command.join(' ')}: ${why}`, advice, { cause: error }));
    });
  });
}

/** Runs to the end. @returns what it printed. @throws RingwayError LAB_PROGRAM with its complaint when it fails */
export async function run(command: readonly string[], timeoutMs?: number): Promise<string> {
  const { code, stdout, stderr } = await outcomeOf(command, timeoutMs);
  if (code === 0) return stdout;
  throw new RingwayError('LAB_PROGRAM', `${command.join(' ')}: exit code ${code}: ${stderr.trim()}`, LOOK);
}

/** A started program. Its lines (both streams) are kept; waiting for one is waiting for an event, with a bound. */
export class Program {
  readonly name: string;
  readonly pid: number;
  readonly exited: Promise<Exit>;
  readonly lines: string[] = [];
  readonly #child: ChildProcess;
  readonly #waiting = new Set<(line: string) => void>();
  /** Resolves at its own end; `exited` only when what it started has let go of its output as well. */
  readonly #gone: Promise<void>;
  #ended = false;

  /** @param command started in a process group of its own, so that a terminal's Ctrl-C reaches only the lab's owner */
  constructor(name: string, command: readonly string[], env: Readonly<Record<string, string>> = {}) {
    const [file, ...args] = command;
    this.name = name;
    this.#child = spawn(file, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true,
      env: { ...process.env, ...env },
    });
    this.pid = this.#child.pid ?? 0;
    this.exited = new Promise((resolve) => {
      this.#child.once('error', () => resolve({ code: 127, signal: null }));
      this.#child.once('close', (code, signal) => resolve({ code, signal }));
    });
    this.#gone = new Promise((resolve) => {
      this.#child.once('error', () => resolve());
      this.#child.once('exit', () => resolve());
    });
    void this.#gone.then(() => {
      this.#ended = true;
    });
    for (const stream of [this.#child.stdout, this.#child.stderr])
      if (stream) createInterface({ input: stream }).on('line', (line) => this.#take(line));
  }

  #take(line: string): void {
    this.lines.push(line);
    for (const waiting of [...this.#waiting]) waiting(line);
  }

  get running(): boolean {
    return !this.#ended;
  }

  /** Writes a line to the program's standard input. */
  say(line: string): void {
    this.#child.stdin?.write(`${line}\n`);
  }

  /** @returns the first line, printed or yet to come, that matches. @throws RingwayError LAB_SILENT when it ends first or `timeoutMs` is over */
  line(pattern: RegExp, timeoutMs = 15_000, from = 0): Promise<string> {
    const seen = this.lines.slice(from).find((line) => pattern.test(line));
    if (seen !== undefined) return Promise.resolve(seen);
    return new Promise((resolve, reject) => {
      const settle = (act: () => void) => {
        clearTimeout(timer);
        this.#waiting.delete(look);
        act();
      };
      const look = (line: string) => {
        if (pattern.test(line)) settle(() => resolve(line));
      };
      const give = (why: string) => settle(() => reject(this.complaint(`${why} before printing ${pattern}`)));
      const timer = setTimeout(() => give(`${timeoutMs} ms passed`), timeoutMs);
      this.#waiting.add(look);
      void this.exited.then(({ code, signal }) => give(`it ended (${signal ?? `exit code ${code}`})`));
    });
  }

  /** An error that carries the last lines the program printed. */
  complaint(what: string): RingwayError {
    const last = this.lines.slice(-12).join('\n  ');
    return new RingwayError('LAB_SILENT', `${this.name}: ${what}; its last lines:\n  ${last}`, 'look at these lines');
  }

  /** Resolves when it has ended. @throws RingwayError LAB_SILENT after `timeoutMs` */
  async end(timeoutMs: number): Promise<Exit> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(this.complaint(`still running after ${timeoutMs} ms`)), timeoutMs);
    });
    try {
      await Promise.race([this.#gone, late]);
      return { code: this.#child.exitCode, signal: this.#child.signalCode };
    } finally {
      clearTimeout(timer);
    }
  }

  /** Asks by signal; `graceMs` later, or when it has ended, kills what is left of it and of what it started. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', graceMs = 3_000): Promise<Exit> {
    if (!this.running) return this.exited;
    const below = processTree(this.pid).slice(1); // an engine has a process group of its own
    kill(this.pid, signal);
    await this.end(graceMs).catch(() => {});
    kill(-this.pid, 'SIGKILL');
    for (const pid of below) kill(pid, 'SIGKILL');
    return this.exited;
  }

  /** Sends a signal to the program alone. */
  signal(signal: NodeJS.Signals): void {
    kill(this.pid, signal);
  }

  /** For an emergency: no waiting. */
  killNow(): void {
    if (this.running) for (const pid of processTree(this.pid)) kill(pid, 'SIGKILL');
  }
}

/** @returns false when there is no such process any more */
export function kill(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/** A process and all below it, parents first. */
export function processTree(pid: number): number[] {
  const found: number[] = [];
  const waiting = [pid];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    found.push(next);
    try {
      for (const task of readdirSync(`/proc/${next}/task`))
        waiting.push(
          ...readFileSync(`/proc/${next}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
        );
    } catch {
      // ended meanwhile
    }
  }
  return found;
}

const TICKS_PER_SECOND = 100; // USER_HZ, which /proc has used since Linux 2.6

/** CPU seconds of a process and all below it so far, those that ended and were waited for included (proc(5), stat fields 14 to 17). */
export function cpuSeconds(pid: number): number {
  let ticks = 0;
  for (const member of processTree(pid)) {
    try {
      const stat = readFileSync(`/proc/${member}/stat`, 'utf8');
      const fields = stat
        .slice(stat.lastIndexOf(')') + 2)
        .split(' ')
        .map(Number);
      ticks += fields[11] + fields[12] + fields[13] + fields[14];
    } catch {
      // ended meanwhile
    }
  }
  return ticks / TICKS_PER_SECOND;
}
