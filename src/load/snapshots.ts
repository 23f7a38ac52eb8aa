/** Snapshots of either end: empty, taken apart for the control connection, and what is read out of them. */
import { addSparse, noBuckets, toSparse } from './buckets.ts';
import type { SparseSnapshot } from './messages.ts';
import { noTotals, type Snapshot } from './traffic.ts';

export function emptySnapshot(): Snapshot {
  const histograms = { oneWay: noBuckets(), roundTrip: noBuckets(), delay: noBuckets() };
  return { totals: noTotals(), histograms, port: {}, verdicts: {}, cpuSeconds: 0, at: 0 };
}

export function sparse(snapshot: Snapshot): SparseSnapshot {
  const { oneWay, roundTrip, delay } = snapshot.histograms;
  return {
    ...snapshot,
    histograms: { oneWay: toSparse(oneWay), roundTrip: toSparse(roundTrip), delay: toSparse(delay) },
  };
}

export function dense(from: SparseSnapshot): Snapshot {
  const { histograms } = emptySnapshot();
  for (const name of ['oneWay', 'roundTrip', 'delay'] as const) addSparse(histograms[name], from.histograms[name]);
  return { ...from, histograms };
}

interface Trains {
  readonly packets: number;
  readonly trains: number;
}

/** Trains by the kernel's count: one a system call. */
export const sentTrains = ({ port, totals }: Snapshot): Trains => ({
  packets: totals.offered,
  trains: port.trainsOut ?? port.udpTrainsOut ?? 0,
});

export const receivedTrains = ({ port, totals }: Snapshot): Trains => ({
  packets: port.datagramsIn ?? totals.delivered,
  trains: port.trainsIn ?? totals.trainsReceived,
});

export const lengthOf = ({ packets, trains }: Trains): number | null => (trains > 0 ? packets / trains : null);
