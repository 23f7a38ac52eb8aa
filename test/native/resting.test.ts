/** A shard at rest waits in the event loop's place: whatever the event loop would have heard of, its thread hears of too. */
import { equal, ok } from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { describe, it } from 'vitest';
import { backends, namespaceRefusal, run } from '../io/rig.ts';

const refusal = namespaceRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

/** poll() and ppoll(), by architecture: in it is who waits for socket and device themselves, where libuv would be in epoll. */
const POLL = process.arch === 'arm64' ? ['73'] : ['7', '271'];

/** Threads of this process that wait so. */
function waiting(): number {
  const calls = readdirSync('/proc/self/task').map((thread) =>
    readFileSync(`/proc/self/task/${thread}/syscall`, 'utf8'),
  );
  return calls.filter((call) => POLL.includes(call.split(' ')[0])).length;
}

async function rests(): Promise<void> {
  for (let waited = 0; waited < 500 && waiting() === 0; waited++) await sleep(10);
  ok(waiting() > 0, 'the shard does not wait by itself');
}

describe.skipIf(refusal !== undefined).each(backends())('a shard at rest, over %s', (io) => {
  it('hears messages, its timers, and that it is to end', async () => {
    for (let round = 0; round < 3; round++) {
      equal(waiting(), 0);
      const worker = new Worker(new URL('./resting.worker.ts', import.meta.url), { workerData: { io } });
      const [space] = await once(worker, 'message');
      try {
        for (const [after, answer] of [
          [0, 'message'],
          [30, 'timer'],
          [0, 'message'],
        ] as const) {
          await rests();
          const answered = once(worker, 'message');
          worker.postMessage(after);
          equal((await answered)[0], answer);
        }
        await rests();
        equal(await worker.terminate(), 1);
      } finally {
        run('ip', 'netns', 'del', space); // what a killed thread cannot do
      }
    }
  });
});
