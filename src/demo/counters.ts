/** The engine's own counters, by the control socket that its keeper answers on. */
import { findKeepers, type Status } from '../keeper/control.ts';
import type { EngineCounters } from './meter.ts';

/** `portCounters` of the addon, summed over the shards; a keeper that has none from its engine leaves them out. */
type Counted = Status & { readonly counters?: Readonly<Record<string, number>> };

/** @param state folder of the control socket. @returns undefined where nobody answers, or not with counters */
export async function engineCounters(state: string): Promise<EngineCounters | undefined> {
  try {
    const [keeper] = await findKeepers(state);
    const counters = (keeper?.status as Counted | undefined)?.counters;
    if (!counters) return undefined;
    const { udpDatagramsIn = 0, udpDatagramsOut = 0, systemCalls = 0 } = counters;
    return { packets: udpDatagramsIn + udpDatagramsOut, systemCalls };
  } catch {
    return undefined; // between two engines
  }
}
