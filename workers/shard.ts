/** Started by piscina, once per shard, for as long as the engine lives. */
import type { MessagePort } from 'node:worker_threads';
import { type ClientShardTask, runClientShard } from '../src/client/shard-task.ts';
import { runServerShard, type ServerShardTask } from '../src/server/shard-task.ts';

export default async function shard({
  task,
  port,
}: {
  task: ServerShardTask | ClientShardTask;
  port: MessagePort;
}): Promise<void> {
  if (task.role === 'server') await runServerShard(task, port);
  else await runClientShard(task, port);
}
