/**
 * What a key is: its schema, its default, what it is for. The tables of `server.ts` and `client.ts` are made of these; flags,
 * environment variables, the file and `--help` all come from them.
 *
 * A schema reads what any layer may hold: YAML has numbers and booleans, flags and the environment only text. Its
 * error message is what would have been right.
 */
import { z } from 'zod';
import { type Micros, MS, SECOND } from '../wire/time.ts';
import {
  readBindAddress,
  readBitRate,
  readByteSize,
  readDeviceName,
  readDuration,
  readGroups,
  readHostIpv4,
  readListenAddress,
  readPeer,
  readPool,
  Wrong,
} from './text.ts';
import type { Cidr, Endpoint } from './types.ts';

export interface Key<T> {
  readonly schema: z.ZodType<T>;
  readonly fallback: T;
  /** As `--help` says it. */
  readonly about: string;
  readonly short?: string;
  /** How the value is shown in `--help`; absent: the key is a switch. */
  readonly value?: string;
  /** Known to the stock programs, taken without complaint, and changes nothing here: said once when somebody sets it. */
  readonly inert?: string;
  /** YAML would turn `password: 0123` into a number: keep what was written. */
  readonly verbatim?: boolean;
  /** Never repeated in a message. */
  readonly secret?: boolean;
  readonly fileOnly?: boolean;
  /** Of Ringway's own: taken by the other role, too, but without effect there, so that its help leaves it out. */
  readonly only?: 'server' | 'client';
}

// biome-ignore lint/suspicious/noExplicitAny: a table holds keys of many types
export type Keys = Readonly<Record<string, Key<any>>>;
export type Values<K extends Keys> = { -readonly [N in keyof K]: K[N] extends Key<infer T> ? T : never };

type Extras = Omit<Key<never>, 'schema' | 'fallback' | 'about'>;

export function key<T>(schema: z.ZodType<T>, fallback: NoInfer<T>, about: string, extras: Extras = {}): Key<T> {
  return { schema, fallback, about, ...extras };
}

/** Text read by one of the readers of `text.ts`. */
function read<T>(reader: (text: string) => T | Wrong): z.ZodType<T> {
  return z.union([z.string(), z.number()], { error: () => refusal(reader) }).transform((written, context): T => {
    const value = reader(String(written));
    if (!(value instanceof Wrong)) return value;
    context.addIssue({ code: 'custom', message: value.expected });
    return z.NEVER;
  });
}

function refusal(reader: (text: string) => unknown): string {
  const answer = reader('');
  return answer instanceof Wrong ? answer.expected : 'a single value';
}

export const word = (): z.ZodType<string> => z.string({ error: () => 'a name' }).min(1, { error: () => 'a name' });
export const text = (): z.ZodType<string> => z.string({ error: () => 'text' });

export const path = (): z.ZodType<string> => z.string({ error: () => 'a path' }).min(1, { error: () => 'a path' });

export const optional = <T>(schema: z.ZodType<T>): z.ZodType<T | null> => schema.nullable();

export function choice<const T extends readonly string[]>(...words: T): z.ZodType<T[number]> {
  return z.enum(words, { error: () => words.join(' | ') });
}

const YES = ['true', 'on', 'yes', '1'];
const NO = ['false', 'off', 'no', '0'];

export function flag(): z.ZodType<boolean> {
  return z
    .union([z.boolean(), z.string(), z.number()], { error: () => 'true or false' })
    .transform((written, context): boolean => {
      const word = String(written).trim().toLowerCase();
      if (YES.includes(word)) return true;
      if (NO.includes(word)) return false;
      context.addIssue({ code: 'custom', message: 'true or false' });
      return z.NEVER;
    });
}

export const duration = (): z.ZodType<Micros> => read(readDuration);
/** The stock programs check this on the command line only; a keepalive of 0s in the file makes them flood. */
export const someDuration = (): z.ZodType<Micros> =>
  read((written) => {
    const span = readDuration(written);
    return span === 0 ? new Wrong('a duration above zero, such as 10s') : span;
  });
export const byteSize = (): z.ZodType<number> => read(readByteSize);
/** Kilobits a second, 0 = off. */
export const bitRate = (): z.ZodType<number> => read(readBitRate);
/** Of a socket, where the kernel would take 0 for its least. */
export const bufferSize = (): z.ZodType<number> =>
  read((written) => {
    const bytes = readByteSize(written);
    return bytes === 0 ? new Wrong('a size above zero, such as "15 MiB", 8MB or 65536') : bytes;
  });
export const endpoint = (): z.ZodType<Endpoint> => read(readPeer);
export const bindAddress = (): z.ZodType<Endpoint> => read(readBindAddress);
export const listenAddress = (): z.ZodType<Endpoint> => read(readListenAddress);
export const groups = (): z.ZodType<readonly number[]> => read(readGroups);
export const deviceName = (): z.ZodType<string> => read(readDeviceName);
export const ipv4 = (): z.ZodType<string> => read(readHostIpv4);
export const pool = (): z.ZodType<Cidr> => read(readPool);

export function integer(least: number, most: number): z.ZodType<number> {
  return read((written) => {
    const number = /^\s*\d+\s*$/.test(written) ? Number(written) : Number.NaN;
    return number >= least && number <= most ? number : new Wrong(`a whole number from ${least} to ${most}`);
  });
}

/** A default as one would write it; undefined: not at all. @param value the key's `value` */
export function asWritten(fallback: unknown, value: string | undefined): string | undefined {
  if (fallback === null || fallback === '') return undefined;
  if (value === 'TIME') return durationAsWritten(fallback as Micros);
  if (value === 'SIZE') return `${(fallback as number) / 2 ** 20} MiB`;
  if (value === 'on|off') return fallback ? 'on' : 'off';
  if (typeof fallback !== 'object') return String(fallback);
  return Object.values(fallback).join('prefix' in fallback ? '/' : ':');
}

function durationAsWritten(span: Micros): string {
  if (span >= 60 * SECOND) return `${span / (60 * SECOND)}m`;
  return span % SECOND === 0 ? `${span / SECOND}s` : `${span / MS}ms`;
}
