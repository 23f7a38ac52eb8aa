/** What a run offers to a server: read from the command line once, written into every result. */
import { z } from 'zod';
import { MS, SECOND } from '../wire/time.ts';
import { parseChoice, parseCount, type parseEndpoint, parseRate, parseTime, usage } from './units.ts';

export const MAX_CLIENTS = 10_000;
/** Packets of one train: what one UDP_SEGMENT send may carry before Linux 6.9. */
export const MAX_BURST = 64;
/** Inner packets in bytes, IP header included. 64 holds headers (28) and what is measured by (36); 1,350 is the tunnel's MTU. */
export const MIN_SIZE = 64;
export const MAX_SIZE = 1_350;
/** Of a list: what native/load holds. */
const MAX_SIZES = 64;
/** The simple Internet mix, 7 : 4 : 1, its parts not below and not above what the tunnel takes. */
const IMIX = [64, 64, 64, 64, 64, 64, 64, 576, 576, 576, 576, 1_350];

export const scenarioSchema = z.strictObject({
  direction: z.enum(['upload', 'download', 'mixed']),
  clients: z.int().min(1).max(MAX_CLIENTS),
  /** Inner bits per second that each client offers (and is offered, with download); null: as fast as possible. */
  rate: z.number().positive().nullable(),
  duration: z.number().positive(), // Micros, as all times here
  warmup: z.number().nonnegative(),
  /** Logins begun per second. */
  ramp: z.number().positive(),
  transport: z.enum(['udp', 'tcp']),
  expresslane: z.boolean(),
  /** `stream`: due times that nothing delays. `window`: flows with a window that grows, and halves at a loss. */
  traffic: z.enum(['stream', 'window']),
  /** Inner packet sizes in bytes, sent in turn. */
  sizes: z.array(z.int().min(MIN_SIZE).max(MAX_SIZE)).min(1).max(MAX_SIZES),
  /** Packets that are due together. */
  burst: z.int().min(1).max(MAX_BURST),
  flows: z.int().min(1).max(64),
});

export type Scenario = z.infer<typeof scenarioSchema>;

export type Direction = Scenario['direction'];

/** Flags as commander hands them over; those not given are undefined. */
export interface ScenarioFlags {
  readonly clients?: string;
  readonly rate?: string;
  readonly duration?: string;
  readonly warmup?: string;
  readonly ramp?: string;
  readonly transport?: string;
  readonly expresslane?: string;
  readonly traffic?: string;
  readonly size?: string;
  readonly burst?: string;
  readonly flows?: string;
}

export const DEFAULTS = {
  clients: '100',
  rate: '1M',
  duration: '10s',
  warmup: '1s',
  ramp: '200',
  transport: 'udp',
  expresslane: 'on',
  traffic: 'stream',
  size: '1350',
  burst: '1',
  flows: '1',
} as const satisfies Required<ScenarioFlags>;

/** @throws RingwayError LOAD_USAGE */
export function readScenario(direction: Direction, flags: ScenarioFlags): Scenario {
  const given = (name: keyof ScenarioFlags) => flags[name] ?? DEFAULTS[name];
  const transport = parseChoice(given('transport'), '--transport', ['udp', 'tcp']);
  // Expresslane is a UDP matter: over TCP its default is off
  const lane = flags.expresslane ?? (transport === 'tcp' ? 'off' : DEFAULTS.expresslane);
  const expresslane = parseChoice(lane, '--expresslane', ['on', 'off']) === 'on';
  if (expresslane && transport === 'tcp')
    throw usage('--expresslane on does not go with --transport tcp', 'leave one of them out');
  const duration = parseTime(given('duration'), '--duration');
  if (duration < 100 * MS) throw usage('--duration is too short to measure anything', 'write at least 100ms');
  if (duration > 3_600 * SECOND) throw usage('--duration is longer than an hour', 'write at most 1h');
  return {
    direction,
    clients: parseCount(given('clients'), '--clients', 1, MAX_CLIENTS),
    rate: parseRate(given('rate')),
    duration,
    warmup: parseTime(given('warmup'), '--warmup'),
    ramp: parseCount(given('ramp'), '--ramp', 1, 10_000),
    transport,
    expresslane,
    traffic: parseChoice(given('traffic'), '--traffic', ['stream', 'window']),
    sizes: parseSizes(given('size')),
    burst: parseCount(given('burst'), '--burst', 1, MAX_BURST),
    flows: parseCount(given('flows'), '--flows', 1, 64),
  };
}

/** `64`, `imix`, `1350`, or several sizes with commas, sent in turn. */
export function parseSizes(text: string): number[] {
  if (text.toLowerCase() === 'imix') return [...IMIX];
  const sizes = text.split(',').map((each) => parseCount(each, '--size', MIN_SIZE, MAX_SIZE));
  if (sizes.length > MAX_SIZES) throw usage(`--size has ${sizes.length} sizes`, `write at most ${MAX_SIZES}`);
  return sizes;
}

export function describeSizes(sizes: readonly number[]): string {
  return sizes.join() === IMIX.join() ? 'IMIX' : sizes.map((size) => size.toLocaleString('en-GB')).join(', ');
}

/** One line for headings. */
export function describeScenario(scenario: Scenario): string {
  const { direction, clients, transport, expresslane, burst, sizes, traffic } = scenario;
  const way = transport === 'tcp' ? 'TCP' : expresslane ? 'UDP, Expresslane' : 'UDP, DTLS';
  const train = burst === 1 ? 'one by one' : `trains of ${burst}`;
  const flows = traffic === 'window' ? ', windows' : '';
  return `${direction}, ${clients.toLocaleString('en-GB')} clients, ${way}, ${describeSizes(sizes)} bytes, ${train}${flows}`;
}

export type Endpoint = ReturnType<typeof parseEndpoint>;
