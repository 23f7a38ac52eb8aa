/**
 * System calls per MB of one TCP flow, at each end, keeper and engine with all their threads: counted by the kernel
 * (`perf stat -e raw_syscalls:sys_enter`), beside what the ports say of themselves. Where perf may not count, the ports' word is all there
 * is: theirs are the calls of the packet path, without those of the event loop.
 */
import { readFileSync } from 'node:fs';
import { createCredentials } from '../src/lab/credentials.ts';
import { type Host, Lab, NET_ADDRESS } from '../src/lab/hosts.ts';
import { outcomeOf, type Program, processTree, run } from '../src/lab/programs.ts';
import { RINGWAY, ringway, stateFolder, Tunnel } from '../src/lab/tunnel.ts';
import { progress } from './progress.ts';
import type { Table } from './table.ts';
import { DIRECTIONS, type Direction } from './tunnels.ts';

const ROUNDS = 7;
const ENDS = ['server', 'client'] as const;
type End = (typeof ENDS)[number];
const EVENT = 'raw_syscalls:sys_enter';

/** Whether the kernel counts calls for us here. */
async function counts(): Promise<boolean> {
  const probe = ['perf', 'stat', '-x,', '-e', EVENT, '-p', String(process.pid), '--', 'sleep', '0.05'];
  return (await outcomeOf(probe).catch(() => ({ code: 1 }))).code === 0;
}

async function portCalls(lab: Lab, end: End): Promise<number> {
  const status = await run([RINGWAY, 'status', '--json', '--all', '--state', stateFolder(lab, end)]);
  const [{ shards }] = JSON.parse(status) as { shards: { port: Record<string, number> }[] }[];
  return shards.reduce((sum, { port }) => sum + port.systemCalls, 0);
}

/** Starts counting the calls of a process and all below it. @returns how to end that, with the count */
function watch(lab: Lab, end: End, pid: number): () => Promise<number> {
  const file = `${lab.folder}/perf-${end}`;
  const pids = processTree(pid).join();
  const perf = lab.start('perf', ['perf', 'stat', '-x,', '-o', file, '-e', EVENT, '-p', pids]);
  return async () => {
    await perf.stop('SIGINT');
    const line = readFileSync(file, 'utf8')
      .split('\n')
      .find((each) => each.includes(EVENT));
    return Number(line?.split(',')[0]);
  };
}

async function flow(client: Host, direction: Direction, seconds: number): Promise<number> {
  const reverse = direction === 'down' ? ['-R'] : [];
  const output = await client.run('iperf3', '-J', '-c', NET_ADDRESS, '-t', String(seconds), ...reverse);
  const { end } = JSON.parse(output) as { end: { sum_received: { bytes: number } } };
  return end.sum_received.bytes / 1e6;
}

interface Counted {
  readonly kernel: number;
  readonly ports: number;
}

/** Calls per MB at each end. */
async function measure(tunnel: Tunnel, direction: Direction, seconds: number, perf: boolean): Promise<Counted[]> {
  const { lab } = tunnel;
  const programs: Record<End, Program> = { server: tunnel.server, client: tunnel.client };
  const before = await Promise.all(ENDS.map((end) => portCalls(lab, end)));
  const watches = perf ? ENDS.map((end) => watch(lab, end, programs[end].pid)) : [];
  if (perf) await lab.client.run('sleep', '0.3'); // until perf has attached
  const megabytes = await flow(lab.client, direction, seconds);
  const kernel = await Promise.all(watches.map((end) => end()));
  const after = await Promise.all(ENDS.map((end) => portCalls(lab, end)));
  return ENDS.map((_, i) => ({
    kernel: (kernel[i] ?? Number.NaN) / megabytes,
    ports: (after[i] - before[i]) / megabytes,
  }));
}

export async function bench(quick: boolean, table: Table): Promise<void> {
  const perf = await counts();
  const lab = await Lab.create();
  try {
    const credentials = await createCredentials(lab.folder);
    const [server, client] = [ringway(lab, 'server'), ringway(lab, 'client')];
    const tunnel = await Tunnel.start(lab, { mode: 'udp', expresslane: true, credentials, server, client });
    await lab.net.start('iperf3', ['iperf3', '-s', '--forceflush']).line(/listening/);
    const found: Record<Direction, Counted[][]> = { up: [], down: [] };
    for (let round = 0; round < (quick ? 1 : ROUNDS); round++)
      for (const direction of DIRECTIONS) {
        progress.show(`round ${round + 1}, ${direction}`);
        found[direction].push(await measure(tunnel, direction, 1, perf));
      }
    progress.clear();
    for (const direction of DIRECTIONS)
      for (const [i, end] of ENDS.entries()) {
        const ports = found[direction].map((round) => round[i].ports);
        const values = perf ? found[direction].map((round) => round[i].kernel) : ports;
        const own = [...ports].sort((a, b) => a - b)[ports.length >> 1].toFixed(1);
        const note = perf ? `by perf; ports say ${own}` : "the ports' own count: perf may not count here";
        const row = { group: 'System calls per MB, one TCP flow', what: `${direction}, ${end}`, note } as const;
        table.add({ ...row, sense: 'at most', bound: 40, unit: '' }, values);
      }
  } finally {
    await lab.close();
  }
}
