/** Packets one by one: Ringway with `--tun-offload off` at both ends, against `limit` without TUN offload, UDP GSO and GRO. */
import type { Table } from './table.ts';
import { compare } from './tunnels.ts';

export const contenders = ['limit-nogso', 'ringway-nooffload'];

export async function bench(quick: boolean, table: Table): Promise<void> {
  const pair = { contender: 'ringway-nooffload', against: 'limit-nogso', key: 'gbps' } as const;
  await compare(table, quick, 'Offload off, against limit-nogso', {
    ...pair,
    what: 'throughput',
    sense: 'at least',
    bound: 1,
  });
}
