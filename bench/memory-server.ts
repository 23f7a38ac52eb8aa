/** The server of bench/memory.ts, in a process of its own: what clients and public-key work leave in memory is not its affair. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { TaskResult } from '../src/crypto/tasks.ts';
import { createMemory, MemoryServer } from '../test/server/memory-server.ts';
import type { Answer, Demand } from './memory.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as (options?: object) => void;
const NOW = 1_000_000;

const server = new MemoryServer(createMemory(Number(process.argv[2])), 1, 1);
const tasks: Answer['tasks'] = [];
server.onTask = (id, task) => tasks.push({ id, task });

async function memory(): Promise<Answer['memory']> {
  for (let i = 0; i < 4; i++) {
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { rss, heapUsed } = process.memoryUsage();
  return { rss, heap: heapUsed };
}

process.on('message', async (demand: Demand) => {
  if (demand.close) for (const peer of [...server.control.peers.values()].slice(demand.close)) peer.close(NOW);
  for (const { id, result } of demand.results ?? []) server.control.taskDone(NOW, id, result as TaskResult);
  if (demand.results?.length) server.answer(NOW);
  for (const datagram of demand.datagrams ?? []) server.receive(NOW, demand.from ?? '', 5000, datagram);
  const sent = server.sent().map(({ datagram }) => datagram);
  const answer: Answer = { sent, tasks: tasks.splice(0), memory: demand.measure ? await memory() : undefined };
  process.send?.(answer);
});
