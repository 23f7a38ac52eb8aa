/** Started by piscina, once per loader thread, for as long as a run lasts. */
import type { MessagePort } from 'node:worker_threads';
import { type LoaderTask, runLoader } from '../src/load/loader.ts';

export default async function load({ task, port }: { task: LoaderTask; port: MessagePort }): Promise<void> {
  await runLoader(task, port);
}
