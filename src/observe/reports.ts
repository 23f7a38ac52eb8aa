/** What an engine tells of its counters by itself: lines in the log, and the listener for Prometheus where one is wanted. */
import type { Micros } from '../wire/time.ts';
import { MS } from '../wire/time.ts';
import type { MetricsSource } from './metrics.ts';
import { type EngineStatistics, total } from './statistics.ts';

interface Log {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** The stock server's statistics log (protocol specification §12.3). */
export function logStatistics(statistics: EngineStatistics, log: Log): void {
  const { ages, assignedAddresses } = statistics;
  const sum = { current: total(statistics, ({ online }) => online) };
  const lifetime = { total: total(statistics, ({ control }) => control.sessionsOpened), ...sum };
  const byAge = Object.fromEntries(
    (['standby', 'active'] as const).flatMap((kind) =>
      ['5m', '15m', '60m'].map((within, i) => [`${kind}_${within}`, ages?.[kind][i] ?? 0]),
    ),
  );
  log.info({ ...lifetime, ...byAge, pending_id_rotations: ages?.pendingRotations ?? 0 }, 'Session Statistics');
  if (assignedAddresses !== null) log.info({ assigned: assignedAddresses }, 'IP Statistics');
}

/** Logs them again and again, from one interval on; 0: never. Keeps no process alive. @returns stop */
export function logStatisticsEvery(interval: Micros, gather: () => Promise<EngineStatistics>, log: Log): () => void {
  if (interval === 0) return () => {};
  let gathering = false;
  const timer = setInterval(() => {
    if (gathering) return; // a shard hangs: the next look comes when it has answered
    gathering = true;
    gather()
      .then((statistics) => logStatistics(statistics, log))
      .catch((error: Error) => log.warn({ error: error.message }, 'no statistics'))
      .finally(() => {
        gathering = false;
      });
  }, interval / MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** Opens the listener of `metrics_address`. Without it nothing is loaded; an address that is not to be had is only a warning. */
export async function serveMetrics(
  address: { readonly host: string; readonly portNumber: number } | null,
  source: () => Promise<MetricsSource>,
  log: Log,
): Promise<void> {
  if (address === null) return;
  const place = address.host.includes(':')
    ? `[${address.host}]:${address.portNumber}`
    : `${address.host}:${address.portNumber}`;
  try {
    const { listenForMetrics } = await import('./metrics-listener.ts');
    await listenForMetrics(address, source);
    log.info({}, `metrics at http://${place}/metrics`);
  } catch (error) {
    const advice = 'set metrics_address to a free address of this host, with a port above 1023';
    log.warn({ code: 'METRICS_ADDRESS', advice }, `no metrics at ${place}: ${(error as Error).message}`);
  }
}
