import { existsSync, statSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RingwayError } from '../../src/errors.ts';
import {
  ask,
  askStatistics,
  findKeepers,
  openControl,
  type Question,
  type Reply,
  type Status,
} from '../../src/keeper/control.ts';
import type { EngineStatistics } from '../../src/observe/statistics.ts';
import { createFolder, type Folder } from '../config/folder.ts';

const STATUS: Status = {
  role: 'server',
  pid: process.pid,
  namespace: 'net:[1]',
  configFile: '/etc/s.yaml',
  tun: 'lws',
  enginePid: 7,
  generation: 1,
  deaths: 0,
  upSeconds: 3,
  ready: true,
};
const YES: Reply = { ok: true, status: STATUS };

let folder: Folder;
let state: string;
const closers: (() => void)[] = [];

beforeEach(() => {
  folder = createFolder();
  state = join(folder.path, 'state', 'deep');
});
afterEach(() => {
  for (const close of closers.splice(0)) close();
  folder.remove();
});

async function open(
  answer: (question: Question) => Promise<Reply>,
  role: 'server' | 'client' = 'server',
): Promise<string> {
  const control = await openControl(state, role, answer);
  closers.push(control.close);
  return control.path;
}

/** Sends raw text. @returns everything that came back */
function say(path: string, text: string): Promise<string> {
  return new Promise((resolve) => {
    let heard = '';
    const socket = createConnection(path, () => socket.write(text));
    socket.on('data', (chunk) => {
      heard += chunk;
    });
    socket.on('close', () => resolve(heard));
    socket.on('error', () => {});
  });
}

describe('the control socket', () => {
  it('can be reached by its owner alone', async () => {
    const path = await open(async () => YES);
    expect(statSync(state).mode & 0o777).toBe(0o700);
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  it('answers a question with a status', async () => {
    const asked: string[] = [];
    const path = await open(async ({ command }) => {
      asked.push(command);
      return YES;
    });
    expect(await ask(path, { command: 'reload' })).toEqual(STATUS);
    expect(asked).toEqual(['reload']);
  });

  it('answers with statistics however long they are, and with null where there is no engine', async () => {
    const shards = Array.from({ length: 64 }, (_, shard) => ({ shard, port: { note: 'x'.repeat(2_000) } }));
    const statistics = { at: 1, shards } as never as EngineStatistics;
    const full = await open(async ({ command }) => ({
      ...YES,
      statistics: command === 'statistics' ? statistics : null,
    }));
    expect(await askStatistics(full)).toEqual({ status: STATUS, statistics });
    closers.splice(0)[0]();
    expect(await askStatistics(await open(async () => YES))).toEqual({ status: STATUS, statistics: null });
  });

  it("passes the keeper's refusal on, with code and advice", async () => {
    const path = await open(async () => {
      throw new RingwayError('CONFIG_VALUE', 'mode cannot be x', 'expected: tcp | udp');
    });
    await expect(ask(path, { command: 'reload' })).rejects.toMatchObject({
      code: 'CONFIG_VALUE',
      advice: 'expected: tcp | udp',
    });
  });

  it.each(['nonsense\n', '{"command":"format"}\n', '[]\n', 'null\n'])('refuses %j', async (text) => {
    const path = await open(async () => YES);
    expect(JSON.parse(await say(path, text))).toMatchObject({ ok: false, code: 'CONTROL_QUESTION' });
  });

  it('hangs up on a line of more than 4,096 characters', async () => {
    const path = await open(async () => YES);
    expect(await say(path, 'x'.repeat(5_000))).toBe('');
  });

  it('is gone when closed', async () => {
    const path = await open(async () => YES);
    closers.splice(0)[0]();
    expect(existsSync(path)).toBe(false);
    await expect(ask(path, { command: 'status' })).rejects.toMatchObject({ code: 'KEEPER_SILENT' });
  });

  it('cannot be where a file stands in the place of its folder', async () => {
    state = join(folder.write('file', ''), 'state');
    await expect(open(async () => YES)).rejects.toMatchObject({ code: 'CONTROL_SOCKET' });
  });
});

describe('findKeepers', () => {
  it('finds every keeper that answers, and nothing in a folder that is not there', async () => {
    expect(await findKeepers(join(folder.path, 'nowhere'))).toEqual([]);
    const paths = [
      await open(async () => YES),
      await open(async () => ({ ok: true, status: { ...STATUS, role: 'client' } }), 'client'),
    ];
    expect((await findKeepers(state)).map(({ path }) => path).sort()).toEqual(paths.sort());
  });

  it('passes over other files', async () => {
    await open(async () => YES);
    writeFileSync(join(state, 'notes.txt'), '');
    expect(await findKeepers(state)).toHaveLength(1);
  });
});
