/**
 * A worker may be killed in the middle of anything: whatever its rings still hold, the process goes on and its mappings are
 * given back. RINGWAY_TERMINATIONS says how often (default 48; 1,000 with the sanitizer build before a release).
 */
import { deepEqual, equal } from 'node:assert/strict';
import { once } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { describe, it } from 'vitest';
import { addon, backends } from '../io/rig.ts';

const terminations = Number(process.env.RINGWAY_TERMINATIONS ?? 48);
const states = ['busy', 'armed', 'queued', 'full'] as const;

/** Garbage of this thread's own must not be taken for a worker's. */
async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  for (let i = 0; i < 3; i++) {
    collect();
    await setImmediate(); // finalizers run from the event loop
  }
}

async function terminateOne(workerData: object): Promise<void> {
  const worker = new Worker(new URL('./terminated.worker.ts', import.meta.url), { workerData });
  const [message] = await once(worker, 'message');
  equal(message, 'running');
  equal(await worker.terminate(), 1);
}

describe.each(backends())('a terminated worker, ports over %s', (io) => {
  it(
    `gives every mapping back, ${terminations} times, under load and idle`,
    async () => {
      const tun =
        process.getuid?.() === 0 ? addon.openTun({ name: '', queues: 1, vnetHeader: true }).descriptors[0] : -1;
      await collectGarbage();
      const before = addon.mappings();
      for (let i = 0; i < terminations; i++) {
        await terminateOne({ io, state: states[i % 4], turns: i % 7, tun, zeroCopy: io === 'io_uring' && i % 3 === 0 });
      }
      deepEqual(addon.mappings(), before);
      if (tun >= 0) addon.closeDescriptor(tun);
    },
    600_000 + 3_000 * terminations,
  );
});
