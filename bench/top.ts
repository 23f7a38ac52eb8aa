/** What watching costs: one TCP flow while `ringway top --json` runs at both ends, against the same without, by turns. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createCredentials } from '../src/lab/credentials.ts';
import { Lab, NET_ADDRESS } from '../src/lab/hosts.ts';
import { RINGWAY, ringway, stateFolder, Tunnel } from '../src/lab/tunnel.ts';
import { progress } from './progress.ts';
import { interleave } from './rounds.ts';
import type { Table } from './table.ts';
import { DIRECTIONS, type Direction } from './tunnels.ts';

const ROUNDS = 7;
/** Long enough for several looks, which top takes once a second. */
const SECONDS = 4;
const ENDS = ['server', 'client'] as const;
/** Node starts: that is no part of watching. */
const SETTLE_MS = 1_000;

async function megabits(lab: Lab, direction: Direction, seconds: number): Promise<number> {
  const reverse = direction === 'down' ? ['-R'] : [];
  const output = await lab.client.run('iperf3', '-J', '-c', NET_ADDRESS, '-t', String(seconds), ...reverse);
  const { end } = JSON.parse(output) as { end: { sum_received: { bits_per_second: number } } };
  return end.sum_received.bits_per_second / 1e6;
}

async function watched(lab: Lab, direction: Direction, seconds: number): Promise<number> {
  const tops = ENDS.map((end) => lab[end].start('top', [RINGWAY, 'top', '--json', '--state', stateFolder(lab, end)]));
  await Promise.all(tops.map((top) => top.line(/"rates":\{/)));
  await sleep(SETTLE_MS);
  const before = tops.map((top) => top.lines.length);
  const carried = await megabits(lab, direction, seconds);
  for (const [i, top] of tops.entries())
    if (top.lines.length === before[i]) throw top.complaint('has not looked while the flow went on');
  await Promise.all(tops.map((top) => top.stop('SIGINT')));
  return carried;
}

export async function bench(quick: boolean, table: Table): Promise<void> {
  const lab = await Lab.create();
  try {
    const credentials = await createCredentials(lab.folder);
    const [server, client] = [ringway(lab, 'server'), ringway(lab, 'client')];
    await Tunnel.start(lab, { mode: 'udp', expresslane: true, credentials, server, client });
    await lab.net.start('iperf3', ['iperf3', '-s', '--forceflush']).line(/listening/);
    const seconds = quick ? 2 : SECONDS;
    for (const direction of DIRECTIONS) {
      progress.show(`with top and without, ${direction}`);
      const contenders = [
        { name: 'alone', run: () => sleep(SETTLE_MS).then(() => megabits(lab, direction, seconds)) },
        { name: 'watched', run: () => watched(lab, direction, seconds) },
      ];
      const [, { ratios }] = await interleave(contenders, quick ? 1 : ROUNDS);
      const group = 'One TCP flow while ringway top looks on, against the same alone';
      table.add({ group, what: `throughput, ${direction}`, sense: 'at least', bound: 0.97, unit: '×' }, ratios);
    }
    progress.clear();
  } finally {
    await lab.close();
  }
}
