/** The same flow in DTLS records as by the Expresslane: what a client gets whose Expresslane is off. */
import type { Table } from './table.ts';
import { compare } from './tunnels.ts';

export const contenders = ['ringway', 'ringway-dtls'];

export async function bench(quick: boolean, table: Table): Promise<void> {
  const pair = { contender: 'ringway-dtls', against: 'ringway', key: 'gbps' } as const;
  await compare(table, quick, 'DTLS records against Expresslane, same load', {
    ...pair,
    what: 'throughput',
    sense: 'at least',
    bound: 0.85,
  });
}
