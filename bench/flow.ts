/** One TCP flow, each direction, Ringway at both ends, against `limit`: the C program that does nothing but what cannot be left out. */
import type { Table } from './table.ts';
import { compare } from './tunnels.ts';

export const contenders = ['limit', 'ringway'];

export async function bench(quick: boolean, table: Table): Promise<void> {
  const group = 'One TCP flow, Ringway at both ends, against limit';
  const pair = { contender: 'ringway', against: 'limit' };
  const cost = { sense: 'at most', bound: 1.15 } as const;
  await compare(table, quick, group, { ...pair, key: 'gbps', what: 'throughput', sense: 'at least', bound: 0.95 });
  await compare(table, quick, group, { ...pair, ...cost, key: 'srv_cpu_per_gb', what: 'server CPU s/GB' });
  await compare(table, quick, group, { ...pair, ...cost, key: 'machine_cpu_per_gb', what: 'whole-machine CPU s/GB' });
}
