/**
 * How many packets come to their shard at once: a server with two shards, clients from many addresses, traffic both ways; what was handed
 * over is counted against what was received. The kernel programs do this, so it needs a real kernel that takes them.
 */

import type { Lab } from '../src/lab/hosts.ts';
import { run } from '../src/lab/programs.ts';
import { RINGWAY, stateFolder } from '../src/lab/tunnel.ts';
import { loadFrom, setStage } from '../src/load/self.ts';
import type { ShardStatistics } from '../src/observe/statistics.ts';
import type { Table } from './table.ts';

const CLIENTS = 64;
const ADDRESSES = 16;
const ROUNDS = 7;

interface Counted {
  /** Trains and superpackets that shards received from the kernel. */
  readonly received: number;
  readonly handedOver: number;
  /** Datagrams and packets, by shard. */
  readonly packets: readonly number[];
}

async function count(lab: Lab): Promise<Counted> {
  const status = await run([RINGWAY, 'status', '--json', '--all', '--state', stateFolder(lab, 'server')]);
  const [{ shards }] = JSON.parse(status) as { shards: ShardStatistics[] }[];
  const sum = (figure: (shard: ShardStatistics) => number) => shards.reduce((all, shard) => all + figure(shard), 0);
  return {
    received: sum(({ port }) => port.udpTrainsIn + port.tunPacketsIn),
    handedOver: sum(({ verdicts }) => verdicts.handedOver + verdicts.handoverFull),
    packets: shards.map(({ port }) => port.udpDatagramsIn + port.tunPacketsIn),
  };
}

export async function bench(quick: boolean, table: Table): Promise<void> {
  const stage = await setStage({
    scenario: { transport: 'udp', expresslane: true, clients: CLIENTS },
    serverCommand: [],
    serverFlags: ['--shards', '2'],
    serverKeys: {},
    tunSettings: [],
    addresses: ADDRESSES,
    serverCpus: undefined,
    loaderCpus: undefined,
  });
  try {
    const shares: number[] = [];
    for (let round = 0; round < (quick ? 1 : ROUNDS); round++) {
      const before = await count(stage.lab);
      const words = ['--clients', String(CLIENTS), '--rate', '2M', '--warmup', '0s', '--duration', quick ? '1s' : '4s'];
      await loadFrom(stage, ['mixed', ...words], true);
      const after = await count(stage.lab);
      const received = after.received - before.received;
      const handedOver = after.handedOver - before.handedOver;
      shares.push(100 * (1 - handedOver / received));
      const each = after.packets.map((packets, shard) => packets - before.packets[shard]).join(' and ');
      console.log(`  ${received} trains and packets to the shards (${each} packets), ${handedOver} handed over`);
    }
    const what = `${CLIENTS} clients from ${ADDRESSES} addresses, % not handed over`;
    table.add({ group: '2 shards against 1', what, sense: 'at least', bound: 99, unit: '%' }, shares);
  } finally {
    await stage.close();
  }
}
