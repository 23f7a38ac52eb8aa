/** What a load leaves at the server: nothing. A thousand sessions that went without a word would stay until they are idle for too long. */
import { equal } from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { it } from 'vitest';
import { createCredentials } from '../../src/lab/credentials.ts';
import { Lab, SERVER_OUTSIDE } from '../../src/lab/hosts.ts';
import { run } from '../../src/lab/programs.ts';
import { RINGWAY, ringway, startServer, stateFolder } from '../../src/lab/tunnel.ts';
import type { ShardStatistics } from '../../src/observe/statistics.ts';

const CLIENTS = fileURLToPath(new URL('../../bench/idle-clients.ts', import.meta.url));

it('every session of a load says Goodbye when the load is over', async () => {
  const lab = await Lab.create();
  try {
    const credentials = await createCredentials(lab.folder);
    const server = ringway(lab, 'server');
    await startServer(lab, { mode: 'udp', expresslane: true, credentials, server, client: server });
    const sessions = async (key: 'sessions' | 'opened') => {
      const status = await run([RINGWAY, 'status', '--json', '--all', '--state', stateFolder(lab, 'server')]);
      const [{ shards }] = JSON.parse(status) as { shards: ShardStatistics[] }[];
      const of = (shard: ShardStatistics) => (key === 'sessions' ? shard.sessions : shard.control.sessionsOpened);
      return shards.reduce((sum, shard) => sum + of(shard), 0);
    };
    const words = [process.execPath, CLIENTS, SERVER_OUTSIDE, '27690', credentials.authority, '20'];
    const load = lab.client.start('load', ['sh', '-c', `sleep 4 | ${words.join(' ')}`]);
    await load.line(/^online 20 /, 30_000);
    await load.exited;
    for (let tries = 0; (await sessions('sessions')) > 0 && tries < 30; tries++) await sleep(200);
    equal(await sessions('opened'), 20);
    equal(await sessions('sessions'), 0);
  } finally {
    await lab.close();
  }
}, 90_000);
