/**
 * What a server at rest costs: keeper and engine with 1, 2 and 3 shards, nobody logged in. Two figures: proportional (pages that processes
 * share are counted once: what the machine really gives) and the plain sum of resident sizes, which counts them in each.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { createCredentials } from '../src/lab/credentials.ts';
import { Lab } from '../src/lab/hosts.ts';
import { processTree } from '../src/lab/programs.ts';
import { ringway, startServer } from '../src/lab/tunnel.ts';

/** Long enough for start-up garbage to be collected and for the memory to stay as it is. */
const REST_MS = 6_000;

function memory(pid: number): { proportional: number; resident: number } {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  const megabytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(rollup)?.[1] ?? 0) / 1024;
  return { proportional: megabytes('Pss'), resident: megabytes('Rss') };
}

export async function bench(quick: boolean): Promise<void> {
  console.log('\nA server at rest, keeper and engine together (MB)');
  for (const shards of quick ? [1] : [1, 2, 3]) {
    const lab = await Lab.create();
    try {
      const credentials = await createCredentials(lab.folder);
      const server = ringway(lab, 'server', ['--shards', String(shards)]);
      const program = await startServer(lab, { mode: 'udp', expresslane: true, credentials, server, client: server });
      await sleep(quick ? 1_000 : REST_MS);
      const each = processTree(program.pid).map(memory);
      const sum = (key: 'proportional' | 'resident') => each.reduce((total, one) => total + one[key], 0).toFixed(0);
      console.log(
        `  ${shards} shard${shards > 1 ? 's' : ' '}  proportional ${sum('proportional')}  resident ${sum('resident')}`,
      );
    } finally {
      await lab.close();
    }
  }
}
