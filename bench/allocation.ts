/**
 * What ten million packets through both pipelines leave to the garbage collector: whole turns of a shard between synthetic ports, with
 * the collector's own account of when it ran. In a process of its own, without V8's memory reducer: that one runs mark-sweeps some seconds
 * after a program's start to shrink its heap, whether or not anything was allocated.
 */
import { constants, type NodeGCPerformanceDetail, PerformanceObserver } from 'node:perf_hooks';
import { setImmediate as pass } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { chooseAead } from '../src/datapath/backends.ts';
import { run } from '../src/lab/programs.ts';
import { loadAddon } from '../src/native/index.ts';
import { createLoop, type Loop } from '../test/datapath/loop.ts';
import type { Table } from './table.ts';

const PROGRAM = fileURLToPath(import.meta.url);
const PACKETS = 10_000_000;
const WARM_TURNS = 5_000;
/** Turns between two passes of the event loop, in which the collector reports: what fits into a shard's millisecond, or a little more. */
const CHUNK = 8;
const LONGEST_MS = 300_000;

const { NODE_PERFORMANCE_GC_MINOR: MINOR } = constants;

interface Measured {
  readonly packets: number;
  readonly seconds: number;
  readonly turns: number;
  readonly scavenges: number;
  /** Of every other kind. */
  readonly sweeps: number;
  readonly heapPerTurn: number;
  readonly drops: Readonly<Record<string, number>>;
}

async function turns(loop: Loop, count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) {
    loop.turn();
    if (turn % CHUNK === 0) await pass();
  }
}

async function measure(wanted: number): Promise<Measured> {
  const addon = loadAddon();
  const loop = createLoop(addon, { aead: chooseAead(addon, 'auto'), packetBytes: 1_400 });
  await turns(loop, WARM_TURNS);
  const heap = new Float64Array(wanted / CHUNK / 100); // more chunks than there will be: a turn carries hundreds of packets
  (globalThis as { gc?: () => void }).gc?.(); // what the set-up and the compiler left is no packet's
  await pass();

  let [scavenges, sweeps] = [0, 0];
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries())
      if ((entry as unknown as { detail: NodeGCPerformanceDetail }).detail.kind === MINOR) scavenges++;
      else sweeps++;
  });
  observer.observe({ entryTypes: ['gc'] });
  let chunks = 0;
  let looks = 0;
  const first = loop.up;
  const began = performance.now();
  for (; loop.up - first < wanted; chunks++) {
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < CHUNK; i++) loop.turn();
    const taken = process.memoryUsage().heapUsed - before;
    if (taken >= 0) heap[looks++] = taken / CHUNK; // less than before: the collector has been
    await pass();
  }
  const seconds = (performance.now() - began) / 1000;
  await pass();
  observer.disconnect();
  loop.close();
  const heapPerTurn = heap.subarray(0, looks).reduce((sum, each) => sum + each, 0) / looks;
  const packets = loop.up - first;
  return { packets, seconds, turns: chunks * CHUNK, scavenges, sweeps, heapPerTurn, drops: loop.drops() };
}

export async function bench(quick: boolean, table: Table): Promise<void> {
  const wanted = quick ? PACKETS / 100 : PACKETS;
  const flags = ['--expose-gc', '--no-memory-reducer'];
  const output = await run([process.execPath, ...flags, PROGRAM, String(wanted)], LONGEST_MS);
  const { packets, seconds, scavenges, sweeps, heapPerTurn, drops, ...rest } = JSON.parse(output) as Measured;
  console.log(
    `  ${(packets / 1e6).toFixed(1)} million packets down and up in ${seconds.toFixed(1)} s, ${rest.turns} turns: ` +
      `${scavenges} scavenges, ${sweeps} collections of other kinds; drops: ${JSON.stringify(drops)}`,
  );
  const group = `${(packets / 1e6).toFixed(quick ? 1 : 0)} million packets through both pipelines`;
  const most = { group, sense: 'at most', unit: '' } as const;
  table.add({ ...most, what: 'mark-sweeps', bound: 0 }, [sweeps]);
  table.add({ ...most, what: 'scavenges a second', bound: 1 }, [scavenges / seconds]);
  table.add({ ...most, what: 'bytes of heap a turn', bound: 200 }, [heapPerTurn]);
}

if (process.argv[1] === PROGRAM) console.log(JSON.stringify(await measure(Number(process.argv[2]))));
