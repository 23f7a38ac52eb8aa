/** Started by piscina, once per loader thread, for as long as a run lasts. */
import type { MessagePort } from 'node:worker_threads';
import { type CheckerTask, runChecker } from '../src/load/checker.ts';
import { type LoaderTask, runLoader } from '../src/load/loader.ts';

export default async function load({
  task,
  port,
}: {
  task: LoaderTask | CheckerTask;
  port: MessagePort;
}): Promise<void> {
  if (task.role === 'loader') await runLoader(task, port);
  else await runChecker(task, port);
}
