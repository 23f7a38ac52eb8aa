/**
 * How `ringway reload`, `status`, `top` and `metrics` reach a keeper: a socket of its own in the state folder, which its owner alone may
 * enter. One question and one answer a connection, each a line of JSON. The folder may hold keepers of several network
 * namespaces: /run is shared between them.
 */
import { chmodSync, mkdirSync, readdirSync, readlinkSync, unlinkSync } from 'node:fs';
import { createConnection, createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { RingwayError } from '../errors.ts';
import type { EngineStatistics } from '../observe/statistics.ts';

const COMMANDS = ['status', 'reload', 'statistics'] as const;

export interface Question {
  readonly command: (typeof COMMANDS)[number];
}

export interface Status {
  readonly role: 'server' | 'client';
  readonly pid: number;
  /** `net:[4026531840]`: the network namespace. */
  readonly namespace: string;
  readonly configFile: string;
  readonly tun: string;
  readonly enginePid: number | null;
  readonly generation: number;
  /** Engines that ended by themselves, in all. */
  readonly deaths: number;
  readonly upSeconds: number;
  readonly ready: boolean;
  /** Settings that the last reload found changed, and that stay as they were until the next start. Older keepers do not say. */
  readonly kept?: readonly string[];
}

/** A keeper and what its engine counts; null while there is no engine that answers. */
export interface Instance {
  readonly status: Status;
  readonly statistics: EngineStatistics | null;
}

export type Reply =
  /** `statistics` only where it was asked for. */
  | { readonly ok: true; readonly status: Status; readonly statistics?: EngineStatistics | null }
  | { readonly ok: false; readonly code: string; readonly message: string; readonly advice: string };

const LONGEST_LINE = 4_096; // of a question: answers may be long
const ANSWER_WITHIN_MS = 30_000;
const SOCKET_NAME = /^(?:server|client)-(\d+)\.sock$/;

/** @throws RingwayError CONTROL_SOCKET when the folder cannot be made or the socket not bound */
export async function openControl(
  folder: string,
  role: 'server' | 'client',
  answer: (question: Question) => Promise<Reply>,
): Promise<{ path: string; close(): void }> {
  const path = join(folder, `${role}-${process.pid}.sock`);
  const server = createServer((socket) => converse(socket, answer));
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    remove(path);
    await listen(server, path);
    chmodSync(path, 0o600);
  } catch (cause) {
    throw new RingwayError(
      'CONTROL_SOCKET',
      `no control socket in ${folder}: ${(cause as Error).message}`,
      'reload with SIGHUP, or set state to a folder of yours',
      { cause },
    );
  }
  server.unref();
  return {
    path,
    close: () => {
      server.close();
      remove(path);
    },
  };
}

function listen(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
}

function converse(socket: Socket, answer: (question: Question) => Promise<Reply>): void {
  let heard = '';
  socket.setEncoding('utf8');
  socket.on('error', () => socket.destroy());
  socket.on('data', function hear(text: string) {
    heard += text;
    const end = heard.indexOf('\n');
    if (end > LONGEST_LINE || (end < 0 && heard.length > LONGEST_LINE)) return void socket.destroy();
    if (end < 0) return;
    socket.off('data', hear).resume(); // one question, however much follows
    void reply(heard.slice(0, end), answer).then((words) => socket.end(`${JSON.stringify(words)}\n`));
  });
}

async function reply(line: string, answer: (question: Question) => Promise<Reply>): Promise<Reply> {
  try {
    const question = JSON.parse(line) as Question;
    if (!COMMANDS.includes(question.command)) throw new SyntaxError('no such command');
    return await answer(question);
  } catch (error) {
    if (error instanceof RingwayError)
      return { ok: false, code: error.code, message: error.message, advice: error.advice };
    return {
      ok: false,
      code: 'CONTROL_QUESTION',
      message: (error as Error).message,
      advice: `ask ${COMMANDS.map((command) => JSON.stringify({ command })).join(', ')}`,
    };
  }
}

/** Asks one keeper. @throws RingwayError KEEPER_SILENT; or the keeper's own error */
export async function ask(path: string, question: Question): Promise<Status> {
  return (await talk(path, question)).status;
}

/** Asks one keeper what its engine counts. @throws as `ask` */
export async function askStatistics(path: string): Promise<Instance> {
  const { status, statistics = null } = await talk(path, { command: 'statistics' });
  return { status, statistics };
}

function talk(path: string, question: Question): Promise<Extract<Reply, { ok: true }>> {
  return new Promise((resolve, reject) => {
    const socket = createConnection(path);
    const silent = (cause?: unknown) =>
      reject(new RingwayError('KEEPER_SILENT', `no answer from ${path}`, 'is that instance still running?', { cause }));
    let heard = '';
    socket.setEncoding('utf8');
    socket.setTimeout(ANSWER_WITHIN_MS, () => socket.destroy(new Error('timeout')));
    socket.on('error', silent);
    socket.on('data', (text: string) => {
      heard += text;
    });
    socket.on('end', () => {
      const words = parseReply(heard);
      if (!words) return silent();
      if (words.ok) resolve(words);
      else reject(new RingwayError(words.code, words.message, words.advice));
    });
    socket.write(`${JSON.stringify(question)}\n`);
  });
}

/** @returns undefined for what is no whole reply: a keeper that was killed may have said half of one. Never throws */
export function parseReply(text: string): Reply | undefined {
  if (!text.endsWith('\n')) return undefined;
  let reply: Partial<Record<'ok' | 'status' | 'code' | 'message' | 'advice', unknown>> | null;
  try {
    reply = JSON.parse(text);
  } catch {
    return undefined;
  }
  const refusal = [reply?.code, reply?.message, reply?.advice].every((field) => typeof field === 'string');
  const status = typeof reply?.status === 'object' && reply.status !== null;
  return (reply?.ok === true && status) || (reply?.ok === false && refusal) ? (reply as Reply) : undefined;
}

export interface Found {
  readonly path: string;
  readonly status: Status;
}

/** Every keeper that answers. Sockets of keepers that were killed are cleared away. */
export async function findKeepers(folder: string): Promise<Found[]> {
  let names: string[] = [];
  try {
    names = readdirSync(folder).filter((name) => SOCKET_NAME.test(name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
      throw new RingwayError(
        'STATE_UNREADABLE',
        `cannot look into ${folder}: ${(error as Error).message}`,
        'run as the user who started the instance',
        { cause: error },
      );
    }
  }
  const answers = await Promise.all(names.map((name) => look(join(folder, name))));
  return answers.filter((found) => found !== undefined);
}

async function look(path: string): Promise<Found | undefined> {
  try {
    return { path, status: await ask(path, { command: 'status' }) };
  } catch (error) {
    const { code } = ((error as Error).cause ?? {}) as NodeJS.ErrnoException;
    if (code === 'ECONNREFUSED') remove(path);
    return undefined;
  }
}

export function ownNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/net');
  } catch {
    return '';
  }
}

function remove(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It was gone already.
  }
}
