/**
 * Two shards against one: whole turns between synthetic ports, each shard on a thread of its own, with the table and the index that the
 * shards of one engine share. The same for the bare AEAD says what the machine's second core is worth: what no program could exceed.
 */
import { once } from 'node:events';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { chooseAead } from '../src/datapath/backends.ts';
import { loadAddon } from '../src/native/index.ts';
import { createLoopMemory, Loop, type LoopOptions } from '../test/datapath/loop.ts';
import { interleave, show } from './rounds.ts';
import type { Table } from './table.ts';

const SHARDS = 2;
const ROUNDS = 9;
const WARM_TURNS = 2_000;
/** Turns between two looks at the clock. */
const CHUNK = 8;
const PACKET_BYTES = 1_400;

interface Order {
  readonly what: 'shard' | 'bare';
  readonly forMs: number;
}

/** Packets a second of the threads at work, all together. */
async function together(workers: readonly Worker[], order: Order): Promise<number> {
  const answers = workers.map((worker) => once(worker, 'message') as Promise<[number]>);
  for (const worker of workers) worker.postMessage(order);
  return (await Promise.all(answers)).reduce((sum, [rate]) => sum + rate, 0);
}

export async function bench(quick: boolean, table: Table): Promise<void> {
  const addon = loadAddon();
  const memory = createLoopMemory(addon, SHARDS);
  const { handle, id } = addon.createIndex(memory.slots);
  const aead = chooseAead(addon, 'auto');
  const workers = Array.from({ length: SHARDS }, (_, shard) => {
    const options: LoopOptions = { aead, packetBytes: PACKET_BYTES, memory, index: id, shard, shards: SHARDS };
    return new Worker(new URL(import.meta.url), { workerData: options });
  });
  try {
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    const forMs = quick ? 100 : 700;
    const rounds = quick ? 1 : ROUNDS;
    const contender = (name: string, threads: number, what: Order['what']) => ({
      name,
      run: () => together(workers.slice(0, threads), { what, forMs }),
    });
    const results = await interleave([contender('1 shard', 1, 'shard'), contender('2 shards', 2, 'shard')], rounds);
    const bare = await interleave([contender('1 thread', 1, 'bare'), contender('2 threads', 2, 'bare')], rounds);
    show('Whole pipelines on synthetic ports, packets down and up', 'packets/s', results, rounds);
    show('Bare AEAD, one copy, one checksum', 'packets/s', bare, rounds);
    const note = `the bare AEAD: ${bare[1].ratio.median.toFixed(2)} ×`;
    const group = '2 shards against 1';
    table.add(
      { group, what: 'whole pipeline, in memory', sense: 'at least', bound: 1.7, unit: '×', note },
      results[1].ratios,
    );
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
    void handle; // the index lives as long as somebody holds it
  }
}

/** A thread: says that it is warm, then works for as long as it is told. */
function work(): void {
  const addon = loadAddon();
  const loop = new Loop(addon, workerData as LoopOptions);
  for (let turn = 0; turn < WARM_TURNS; turn++) loop.turn();
  const { aead } = workerData as LoopOptions;
  parentPort?.on('message', ({ what, forMs }: Order) => {
    const began = performance.now();
    const first = loop.up;
    let packets = 0;
    while (performance.now() - began < forMs)
      if (what === 'shard') {
        for (let i = 0; i < CHUNK; i++) loop.turn();
        packets = loop.up - first;
      } else {
        addon.bareCost(aead, false, PACKET_BYTES, 512, true);
        packets += 512;
      }
    if (Object.keys(loop.drops()).length > 0) throw new Error(`dropped: ${JSON.stringify(loop.drops())}`);
    parentPort?.postMessage((packets * 1000) / (performance.now() - began));
  });
  parentPort?.postMessage('warm');
}

if (!isMainThread) work();
