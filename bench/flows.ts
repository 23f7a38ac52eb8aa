/** Eight TCP flows through one session, against one flow through the same tunnel. */
import type { Table } from './table.ts';
import { compare } from './tunnels.ts';

export const contenders = ['ringway', 'ringway/8'];

export async function bench(quick: boolean, table: Table): Promise<void> {
  const pair = { contender: 'ringway/8', against: 'ringway', key: 'gbps' } as const;
  await compare(table, quick, '8 flows against 1 flow', {
    ...pair,
    what: 'throughput',
    sense: 'at least',
    bound: 0.95,
  });
}
