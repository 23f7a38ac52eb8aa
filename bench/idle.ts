/**
 * What waiting costs: the CPU time of a server with a thousand sessions that carry nothing but their keepalives, and the median round trip
 * of pings 20 ms apart through an idle tunnel, against `limit`.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { createCredentials, useCheapHash } from '../src/lab/credentials.ts';
import { Lab, SERVER_OUTSIDE } from '../src/lab/hosts.ts';
import { processTree } from '../src/lab/programs.ts';
import { ringway, startServer } from '../src/lab/tunnel.ts';
import { progress } from './progress.ts';
import type { Table } from './table.ts';
import { ratios } from './tunnels.ts';

const CLIENTS = fileURLToPath(new URL('./idle-clients.ts', import.meta.url));
const SESSIONS = 1_000;
const PORT_NUMBER = 27690;
const ROUNDS = 7;
/** An interval of keepalives: in a part of it a thousand sessions that came together say nothing, or all speak. */
const ROUND_MS = 10_000;
/** After the last login: what that left to do is no rest. */
const SETTLE_MS = 6_000;

export const contenders = ['limit', 'ringway'];

export async function bench(quick: boolean, table: Table): Promise<void> {
  const group = 'Idle';
  const sessions = quick ? 50 : SESSIONS;
  const shares = await idleServer(sessions, quick);
  const what = `server with ${sessions} sessions, % of a core`;
  table.add({ group, what, sense: 'at most', bound: 1, unit: '%' }, shares);
  const pair = { contender: 'ringway', against: 'limit', direction: 'up', key: 'ping_p50_us' } as const;
  table.add(
    { group, what: 'ping p50, against limit', sense: 'at most', bound: 1.2, unit: '×' },
    await ratios(pair, quick),
  );
}

/** @returns percent of a core, a figure a round */
export async function idleServer(sessions: number, quick: boolean): Promise<number[]> {
  const lab = await Lab.create();
  try {
    const credentials = await createCredentials(lab.folder);
    await useCheapHash(credentials);
    const server = ringway(lab, 'server');
    const program = await startServer(lab, { mode: 'udp', expresslane: true, credentials, server, client: server });
    const words = [SERVER_OUTSIDE, String(PORT_NUMBER), credentials.authority, String(sessions)];
    const clients = lab.client.start('clients', [process.execPath, CLIENTS, ...words]);
    progress.show(`${sessions} logins`);
    const said = await clients.line(/^online/, 310_000);
    if (!said.startsWith(`online ${sessions} `)) throw clients.complaint(said);
    await sleep(quick ? 500 : SETTLE_MS);
    const shares: number[] = [];
    for (let round = 0; round < (quick ? 1 : ROUNDS); round++) {
      progress.show(`idle, round ${round + 1}`);
      const before = nanoseconds(program.pid);
      const began = performance.now();
      await sleep(quick ? 1_000 : ROUND_MS);
      shares.push(since(before, nanoseconds(program.pid)) / (performance.now() - began) / 1e4);
    }
    progress.clear();
    return shares;
  } finally {
    await lab.close();
  }
}

/** What the scheduler has given to each thread of a process and of all below it: exact, where the kernel's ticks would guess. */
function nanoseconds(pid: number): Map<string, number> {
  const spent = new Map<string, number>();
  for (const member of processTree(pid))
    for (const thread of readdirSync(`/proc/${member}/task`))
      spent.set(thread, Number(readFileSync(`/proc/${member}/task/${thread}/schedstat`, 'utf8').split(' ')[0]));
  return spent;
}

/** Threads that have ended in between are left out. */
function since(before: Map<string, number>, after: Map<string, number>): number {
  let sum = 0;
  for (const [thread, spent] of after) sum += spent - (before.get(thread) ?? 0);
  return sum;
}
