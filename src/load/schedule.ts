/**
 * When what is due. Open loop: due times follow from the scenario alone, never from how long anything took, so that a stall shows as
 * latency of all that was due meanwhile (no coordinated omission). All clients have one rate, so their trains take turns:
 * train k belongs to client k mod clients and is due k × spacing after the start. `native/load` keeps the same schedule.
 */
import { type Micros, SECOND } from '../wire/time.ts';
import type { Scenario } from './scenario.ts';

export interface Schedule {
  /** Time between two trains of neighbouring clients; 0: as fast as possible. */
  readonly spacing: Micros;
  /** Trains due up to `sinceStart`, all clients together. */
  trainsDue(sinceStart: Micros): number;
  due(train: number): Micros;
  client(train: number): number;
}

/** Mean inner bytes of a packet: sizes are sent in turn. */
export function meanSize(sizes: readonly number[]): number {
  return sizes.reduce((sum, size) => sum + size, 0) / sizes.length;
}

export function createSchedule(scenario: Pick<Scenario, 'clients' | 'rate' | 'burst' | 'sizes'>): Schedule {
  const { clients, rate, burst, sizes } = scenario;
  const spacing = rate === null ? 0 : (burst * meanSize(sizes) * 8 * SECOND) / rate / clients;
  return {
    spacing,
    trainsDue: (sinceStart) => (spacing === 0 || sinceStart < 0 ? 0 : Math.floor(sinceStart / spacing) + 1),
    due: (train) => train * spacing,
    client: (train) => train % clients,
  };
}

/** Logins begun at an even pace. @returns how many are due by then */
export function loginsDue(sinceStart: Micros, ramp: number, clients: number): number {
  return Math.min(clients, Math.floor((sinceStart * ramp) / SECOND) + 1);
}

/** Longest without a new login, which a stock client gives a server (protocol specification §2.9), and some. */
export const LOGIN_PATIENCE: Micros = 20 * SECOND;
