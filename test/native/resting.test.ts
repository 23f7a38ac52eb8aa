/**
 * A shard at rest waits in the event loop's place, one at work takes turns there: whatever the event loop would have heard of, its thread hears of too.
 */
import { equal, ok } from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { describe, it } from 'vitest';
import { backends, namespaceRefusal, run } from '../io/rig.ts';

/** A shard takes half a second to start: as many as make sense beside those of terminate.test.ts. */
const terminations = Math.ceil(Number(process.env.RINGWAY_TERMINATIONS ?? 48) / 16);
/** Longer than any of this takes. */
const LOAD_MS = 20_000;
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

/** Messages and timers, and in between what `ready` waits for. */
async function answers(worker: Worker, ready: () => Promise<void>): Promise<void> {
  for (const [after, answer] of [
    [0, 'message'],
    [30, 'timer'],
    [0, 'message'],
  ] as const) {
    await ready();
    const answered = once(worker, 'message');
    worker.postMessage(after);
    equal((await answered)[0], answer);
  }
  await ready();
}

async function withWorker(data: { io: string; load: number }, use: (worker: Worker) => Promise<void>): Promise<void> {
  const worker = new Worker(new URL('./resting.worker.ts', import.meta.url), { workerData: data });
  const [space] = await once(worker, 'message');
  try {
    await use(worker);
  } finally {
    equal(await worker.terminate(), 1);
    // what a killed thread cannot do
    for (const sender of run('ip', 'netns', 'pids', space).split('\n').filter(Boolean)) process.kill(Number(sender));
    run('ip', 'netns', 'del', space);
  }
}

describe.skipIf(refusal !== undefined).each(backends())('a shard over %s', (io) => {
  it('hears messages, its timers, and that it is to end, while it rests', async () => {
    for (let round = 0; round < 3; round++) {
      equal(waiting(), 0);
      await withWorker({ io, load: 0 }, (worker) => answers(worker, rests));
    }
  });

  it('and while it works, mostly without JavaScript', async () => {
    await withWorker({ io, load: LOAD_MS }, async (worker) => {
      const account = async () => {
        const answered = once(worker, 'message');
        worker.postMessage(-1);
        return (await answered)[0] as { sealed: number; calls: number; passes: number };
      };
      const before = await account();
      await answers(worker, () => sleep(200));
      let after = await account();
      // JavaScript has its look all the same; on a busy machine packets may come apart for a while, each to a shard at rest
      for (let waited = 0; after.calls === before.calls && waited < LOAD_MS; waited += 100) {
        await sleep(100);
        after = await account();
      }
      const sealed = after.sealed - before.sealed;
      const calls = after.calls - before.calls;
      ok(sealed > 100, `${sealed} packets`); // of 2,000
      ok(calls > 0, 'JavaScript was never called');
      ok(
        2 * (calls + after.passes - before.passes) < sealed,
        `${calls} calls, ${after.passes} passes, ${sealed} packets`,
      );
    });
  });

  it('and rests when nothing more comes', async () => {
    await withWorker({ io, load: 500 }, async (worker) => {
      worker.postMessage(0);
      await once(worker, 'message'); // it works
      await sleep(1_500);
      await answers(worker, rests);
    });
  });

  it(`and ends at work, ${terminations} times`, async () => {
    for (let i = 0; i < terminations; i++) await withWorker({ io, load: LOAD_MS }, () => sleep((i * 7) % 60));
  });
});
