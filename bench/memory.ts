/**
 * What idle UDP sessions cost a server: each is brought Online by a real handshake and login, its Expresslane made active; then the
 * resident memory of the server's process is compared with that before, after garbage collection. Clients and public-key work are in
 * another process, as the latter is on other threads of an engine. A thousand sessions that came and went are there before the count
 * begins: a server has many behind it.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createNativeVault } from '../src/crypto/native-vault.ts';
import type { CryptoTask, TaskResult } from '../src/crypto/tasks.ts';
import type { Vault } from '../src/crypto/vault.ts';
import { loadAddon } from '../src/native/index.ts';
import { MemoryClient, runServerTask } from '../test/server/memory-server.ts';

const NOW = 1_000_000;

export interface Demand {
  readonly from?: string;
  readonly datagrams?: Uint8Array[];
  readonly results?: { id: number; result: TaskResult }[];
  /** Closes all sessions but the first so many. */
  readonly close?: number;
  readonly measure?: boolean;
}

export interface Answer {
  readonly sent: Uint8Array[];
  readonly tasks: { id: number; task: CryptoTask }[];
  readonly memory: { rss: number; heap: number } | undefined;
}

async function ask(server: ChildProcess, demand: Demand): Promise<Answer> {
  server.send(demand);
  return (await once(server, 'message'))[0] as Answer;
}

async function open(server: ChildProcess, vault: Vault, i: number): Promise<void> {
  const client = new MemoryClient(NOW, i + 2, 'password', vault);
  const from = `198.18.${i >> 8}.${i & 0xff}`;
  let results: Demand['results'] = [];
  for (let datagrams = client.sent(); datagrams.length + results.length > 0; datagrams = client.sent()) {
    const { sent, tasks } = await ask(server, { from, datagrams, results });
    results = tasks.map(({ id, task }) => ({ id, result: runServerTask(task) }));
    for (const datagram of sent) client.receive(NOW, datagram);
  }
  if (client.session.state !== 'online') throw new Error(`session ${i} is ${client.session.state}`);
}

export async function bench(quick: boolean): Promise<void> {
  const [warm, sessions] = quick ? [50, 200] : [1_000, 10_000];
  const vault = createNativeVault(loadAddon());
  const program = fileURLToPath(new URL('./memory-server.ts', import.meta.url));
  const server = fork(program, [String(sessions + warm + 64)], { serialization: 'advanced' });
  try {
    for (let i = 0; i < warm; i++) await open(server, vault, i);
    const before = (await ask(server, { close: 8, measure: true })).memory;
    for (let i = warm; i < sessions + warm; i++) await open(server, vault, i);
    const after = (await ask(server, { measure: true })).memory;
    if (!before || !after) throw new Error('the server did not measure');
    const each = (bytes: number) => `${(bytes / sessions / 1024).toFixed(1)} KB`;
    console.log(`\nMemory of ${sessions} idle UDP sessions`);
    const heap = each(after.heap - before.heap);
    console.log(
      `  resident ${each(after.rss - before.rss)} each, of it JavaScript objects ${heap}, their slots 3.8 KB`,
    );
  } finally {
    server.kill();
  }
}
