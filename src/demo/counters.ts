/** The engine's own counters, by the control socket that its keeper answers on. */
import { askStatistics, findKeepers } from '../keeper/control.ts';
import { total } from '../observe/statistics.ts';
import type { EngineCounters } from './meter.ts';

/** @param state folder of the control socket. @returns undefined where nobody answers, or no engine does */
export async function engineCounters(state: string): Promise<EngineCounters | undefined> {
  try {
    const [keeper] = await findKeepers(state);
    const { statistics } = await askStatistics(keeper.path);
    if (!statistics) return undefined;
    const count = (name: string) => total(statistics, ({ port }) => port[name]);
    const packets = count('udpDatagramsIn') + count('udpDatagramsOut');
    return packets === 0 ? undefined : { packets, systemCalls: count('systemCalls') }; // over TCP the calls are Node's own
  } catch {
    return undefined; // between two engines
  }
}
