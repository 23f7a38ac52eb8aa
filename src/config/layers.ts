/**
 * Flags over environment over file over defaults, key by key. Collects every problem before it gives up, and notices
 * what it accepted without effect.
 */
import type { Written } from './file.ts';
import type { Key, Keys, Values } from './keys.ts';
import { ConfigError, type Origin, type Problem, place } from './problem.ts';
import { nearest } from './text.ts';

/** Said once at start-up, at level warn. */
export interface Notice {
  readonly code: 'CERT_UNCHECKED' | 'CONFIG_INERT' | 'CONFIG_UNKNOWN_KEY';
  readonly key: string;
  readonly origin: Origin;
  readonly message: string;
}

/** One layer's word on a key. */
interface Given {
  readonly value: unknown;
  readonly written: string | undefined;
  readonly origin: Origin;
}

export interface Layers {
  /** By key in snake_case; a switch without a value is true. */
  readonly flags: Readonly<Record<string, string | boolean | undefined>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly file: ReadonlyMap<string, Written>;
}

export interface Merged<K extends Keys> {
  readonly values: Values<K>;
  readonly origins: Readonly<Record<keyof K & string, Origin>>;
  readonly problems: Problem[];
  readonly notices: Notice[];
}

export const flagName = (key: string): string => `--${key.replaceAll('_', '-')}`;

/**
 * @param prefix of environment variables, with its underscore: `LW_SERVER_`
 * @param within the map's name, where these keys do not stand at the top of the file
 */
export function merge<K extends Keys>(keys: K, layers: Layers, prefix: string, within = ''): Merged<K> {
  const values: Record<string, unknown> = {};
  const origins: Record<string, Origin> = {};
  const problems: Problem[] = [];
  const notices: Notice[] = [];
  for (const [name, key] of Object.entries(keys)) {
    const given = highest(name, key, layers, prefix);
    origins[name] = given?.origin ?? { layer: 'default' };
    const read = given ? check(within + name, key, given) : { value: key.fallback };
    if ('problem' in read) problems.push(read.problem);
    else values[name] = read.value;
    if (given && key.inert !== undefined && !same(values[name], key.fallback)) {
      notices.push({
        code: 'CONFIG_INERT',
        key: within + name,
        origin: given.origin,
        message: `${within}${name} is accepted, without effect: ${key.inert}`,
      });
    }
  }
  return { values: values as Values<K>, origins: origins as Merged<K>['origins'], problems, notices };
}

function highest(name: string, key: Key<unknown>, { flags, env, file }: Layers, prefix: string): Given | undefined {
  if (!key.fileOnly) {
    const flag = flags[name];
    if (flag !== undefined)
      return { value: flag, written: String(flag), origin: { layer: 'flag', flag: flagName(name) } };
    const variable = prefix + name.toUpperCase();
    const text = env[variable];
    if (text !== undefined) return { value: text, written: text, origin: { layer: 'environment', variable } };
  }
  const written = file.get(name);
  // `user_db:` with nothing behind it means what leaving the line out means, as for the stock programs' optional keys.
  return written && !(written.value === null && key.fallback === null) ? written : undefined;
}

/** Reads one value by its key's schema. */
export function check<T>(name: string, key: Key<T>, given: Given): { value: T } | { problem: Problem } {
  const scalar = typeof given.value === 'number' || typeof given.value === 'boolean';
  const input = key.verbatim && scalar ? given.written : given.value;
  const parsed = key.schema.safeParse(input);
  if (parsed.success) return { value: parsed.data };
  const expected = parsed.error.issues[0]?.message ?? 'another value';
  const shown = key.secret ? 'this value' : (given.written ?? (given.value === null ? 'nothing' : 'a map or a list'));
  return {
    problem: {
      code: 'CONFIG_VALUE',
      key: name,
      origin: given.origin,
      message: `${name} cannot be ${shown === '' ? 'empty' : shown}`,
      advice: `expected: ${expected}`,
    },
  };
}

/**
 * What nobody knows: a problem each, or a notice each under accept_unknowns.
 * @param elsewhere where a key of exactly this name would be right, as advice
 */
export function unknowns(
  found: Iterable<readonly [name: string, origin: Origin]>,
  known: readonly string[],
  accept: boolean,
  problems: Problem[],
  notices: Notice[],
  elsewhere: (name: string, origin: Origin) => string | undefined = () => undefined,
): void {
  for (const [name, origin] of found) {
    const message = `unknown key ${name}`;
    const plain = name.replaceAll('-', '_').toLowerCase();
    const right = elsewhere(plain, origin);
    const meant = nearest(plain, known);
    if (accept)
      notices.push({
        code: 'CONFIG_UNKNOWN_KEY',
        key: name,
        origin,
        message: `${place(origin)}: ${message} is ignored${right ? `: ${right}` : ''}`,
      });
    else {
      const advice = right ?? (meant ? `did you mean ${meant}?` : 'remove it, or set accept_unknowns: true');
      problems.push({ code: 'CONFIG_UNKNOWN_KEY', key: name, origin, message, advice });
    }
  }
}

export function refuse(problems: readonly Problem[]): void {
  if (problems.length > 0) throw new ConfigError(problems);
}

export function freeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const part of Object.values(value)) freeze(part);
  }
  return value;
}

function same(a: unknown, b: unknown): boolean {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}
