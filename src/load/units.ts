/** Amounts as people write them on a command line: rates, times, shares, sizes, lists; and back into text. */
import { RingwayError } from '../errors.ts';
import { type Micros, MS, SECOND } from '../wire/time.ts';

const NUMBER = String.raw`(\d+(?:\.\d+)?)`;

/** Decimal, as link speeds are. */
const BITS: Readonly<Record<string, number>> = { '': 1, k: 1e3, m: 1e6, g: 1e9 };
const TIMES: Readonly<Record<string, Micros>> = { us: 1, µs: 1, ms: MS, s: SECOND, m: 60 * SECOND, h: 3_600 * SECOND };

/** @throws RingwayError LOAD_USAGE: what was written wrong, and how it is written */
export function usage(what: string, advice: string): RingwayError {
  return new RingwayError('LOAD_USAGE', what, advice);
}

function split(text: string, unit: string): readonly [number, string] | undefined {
  const match = new RegExp(`^${NUMBER} ?(${unit})$`, 'i').exec(text.trim());
  return match ? [Number(match[1]), match[2].toLowerCase()] : undefined;
}

/** Bits per second: `25M`, `1.5Gbit/s`, `800kbps`; `max`: as fast as possible, null. */
export function parseRate(text: string): number | null {
  if (text === 'max') return null;
  const found = split(text, '[kmg]?(?:bit/s|bits|bps|b)?');
  const rate = found && found[0] * BITS[found[1].replace(/b.*$/, '')];
  if (!rate) throw usage(`--rate ${text} is no rate`, 'write bits per second: 25M, 1.5G, 800k, or max');
  return rate;
}

/** A span of time with its unit; 0 is allowed. */
export function parseTime(text: string, name: string): Micros {
  const found = split(text, 'us|µs|ms|s|m|h');
  if (!found) throw usage(`${name} ${text} is no time`, 'write a number and its unit: 30s, 500ms, 2m');
  return found[0] * TIMES[found[1]];
}

/** A whole number from `min` to `max`; `k` is a thousand. */
export function parseCount(text: string, name: string, min: number, max: number): number {
  const found = split(text.replaceAll(/[,_](?=\d{3})/g, ''), 'k?');
  const count = found ? found[0] * (found[1] === 'k' ? 1_000 : 1) : Number.NaN;
  if (!Number.isInteger(count) || count < min || count > max)
    throw usage(`${name} ${text} is not a whole number from ${min} to ${max}`, `write for example ${name} ${min}`);
  return count;
}

/** Counts with commas between them, each once, in the order given. */
export function parseCounts(text: string, name: string, min: number, max: number): number[] {
  return [...new Set(text.split(',').map((each) => parseCount(each, name, min, max)))];
}

/** `HOST:PORT`, `[V6]:PORT`. */
export function parseEndpoint(text: string, name: string): { host: string; portNumber: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const portNumber = Number(match?.[3]);
  if (!match || portNumber < 1 || portNumber > 65_535)
    throw usage(`${name} ${text} is no address with a port`, `write ${name} HOST:PORT`);
  return { host: match[1] ?? match[2], portNumber };
}

/** One of a few words. */
export function parseChoice<const W extends string>(text: string, name: string, words: readonly W[]): W {
  const word = words.find((each) => each === text);
  if (word === undefined) throw usage(`${name} ${text} is not one of its values`, `write ${words.join(', ')}`);
  return word;
}

/** `4.13 Gbit/s`: three digits that count. */
export function formatRate(bitsPerSecond: number): string {
  return `${scaled(bitsPerSecond, ['bit/s', 'kbit/s', 'Mbit/s', 'Gbit/s', 'Tbit/s'])}`;
}

export function formatTime(us: Micros): string {
  if (us < 1) return `${(us * 1000).toFixed(0)} ns`;
  return us < MS ? `${digits(us)} µs` : us < SECOND ? `${digits(us / MS)} ms` : `${digits(us / SECOND)} s`;
}

/** Parts per hundred; tiny but not nothing stays visible. */
export function formatShare(ratio: number): string {
  if (ratio === 0) return '0 %';
  if (ratio < 0.000_01) return '< 0.001 %';
  return `${digits(ratio * 100)} %`;
}

/** Whole numbers with thousands apart. */
export function formatCount(count: number): string {
  return Math.round(count).toLocaleString('en-GB');
}

function scaled(value: number, units: readonly string[]): string {
  let step = 0;
  let left = value;
  while (left >= 999.5 && step < units.length - 1) {
    left /= 1000;
    step++;
  }
  return `${digits(left)} ${units[step]}`;
}

function digits(value: number): string {
  if (value >= 99.95 || value === 0) return value.toFixed(0);
  if (value >= 9.995) return value.toFixed(1);
  return value >= 0.095 ? value.toFixed(2) : value.toPrecision(2);
}
