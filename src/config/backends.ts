/** Ringway's own keys: the `ringway:` map of either file, flags, and RINGWAY_* variables. The stock programs refuse a file that has the map. */

import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { DEFAULT_GROUPS } from '../crypto/groups.ts';
import type { Written } from './file.ts';
import {
  bitRate,
  choice,
  flag,
  groups,
  integer,
  key,
  listenAddress,
  optional,
  path,
  type Values,
  word,
} from './keys.ts';
import type { Notice } from './layers.ts';
import type { Problem } from './problem.ts';
import { NAMES_OF_GROUPS, RATE } from './text.ts';
import type { Backends } from './types.ts';

export const RINGWAY_MAP = 'ringway';
export const RINGWAY_PREFIX = 'RINGWAY_';
const MOST_SHARDS = 64;
const MOST_SESSIONS = 2 ** 20;
/** Datagrams of one UDP_SEGMENT send (UDP_MAX_SEGMENTS of linux/udp.h since 6.9). */
const MOST_SEGMENTS = 128;
/** Pacing for the internet: no train longer than what shallow buffers were seen to take, and never faster than the usual access link. */
const INTERNET = { paceRate: 1_000_000, trainSegments: 16 } as const;

const auto = () => choice('auto');

export const backendKeys = {
  io: key(choice('auto', 'io_uring', 'epoll'), 'auto', 'how packets enter and leave the kernel', {
    value: 'auto|io_uring|epoll',
  }),
  aead: key(choice('auto', 'ipsec-mb', 'openssl', 'noble'), 'auto', 'what encrypts packets', {
    value: 'auto|ipsec-mb|openssl|noble',
  }),
  gro: key(choice('inline', 'off'), 'inline', 'join packets of one flow before the TUN device', {
    value: 'inline|off',
  }),
  tun_offload: key(flag(), true, 'superpackets and checksums at the TUN device', { value: 'on|off' }),
  groups: key(
    z.union([groups(), auto()], { error: () => `auto, or ${NAMES_OF_GROUPS}` }),
    'auto',
    'key exchange to ask for, best first; auto: X25519MLKEM768 (post-quantum), then the cheap curves, whatever enable_pqc says',
    { value: 'NAME,NAME', only: 'server' },
  ),
  sqpoll: key(flag(), false, 'io_uring: a kernel thread takes what is submitted; costs a core', { value: 'on|off' }),
  zero_copy: key(flag(), false, 'io_uring: send from our memory; gains with a real network card only', {
    value: 'on|off',
  }),
  pacing: key(choice('off', 'internet'), 'off', 'preset of the next two; internet: 1G and trains of 16', {
    value: 'off|internet',
  }),
  pace_rate: key(
    z.union([bitRate(), auto()], { error: () => `${RATE}, or auto` }),
    'auto',
    'what one session is sent at most, such as 200M; auto: as the preset',
    { value: 'RATE|off|auto' },
  ),
  train_segments: key(
    z.union([integer(1, MOST_SEGMENTS), auto()], { error: () => `a whole number from 1 to ${MOST_SEGMENTS}, or auto` }),
    'auto',
    'datagrams that leave together at most; auto: as the preset, or what the kernel takes',
    { value: 'N|auto' },
  ),
  user_rates: key(optional(path()), null, 'YAML file with a map of user to pace_rate', {
    value: 'FILE',
    only: 'server',
  }),
  shards: key(
    z.union([integer(1, MOST_SHARDS), auto()], { error: () => `a whole number from 1 to ${MOST_SHARDS}, or auto` }),
    'auto',
    'threads that carry packets; auto: one a core',
    { value: 'N|auto', only: 'server' },
  ),
  sessions: key(integer(1, MOST_SESSIONS), 16_384, 'slots of the session table', { value: 'N' }),
  state: key(path(), 'auto', 'folder of the control socket; auto: /run/ringway', { value: 'DIR' }),
  metrics_address: key(optional(listenAddress()), null, 'HTTP listener for Prometheus; a port alone: on 127.0.0.1', {
    value: 'IP:PORT',
  }),
  ipv6: key(choice('leave', 'block'), 'leave', 'IPv6 goes beside the tunnel, or is unreachable while connected', {
    value: 'leave|block',
    only: 'client',
  }),
  run_as: key(word(), 'nobody', 'whom the engine runs as when started by root', { value: 'USER', verbatim: true }),
};

/** The entries of the `ringway:` map: none where it is left out, or empty. */
export function ownEntries(written: Written | undefined, problems: Problem[]): ReadonlyMap<string, Written> {
  if (written && written.value !== null && !written.entries) {
    const message = `${RINGWAY_MAP} cannot be ${written.written ?? 'a list'}`;
    const advice = 'expected: a map of keys to values, each on a line of its own below it';
    problems.push({ code: 'CONFIG_VALUE', key: RINGWAY_MAP, origin: written.origin, message, advice });
  }
  return written?.entries ?? new Map();
}

/** What io_uring alone has, where it was ruled out. */
export function noteRing(
  values: { readonly io?: string; readonly sqpoll?: boolean; readonly zero_copy?: boolean },
  origins: Readonly<Record<'sqpoll' | 'zero_copy', Notice['origin']>>,
): Notice[] {
  if (values.io !== 'epoll') return [];
  return (['sqpoll', 'zero_copy'] as const)
    .filter((name) => values[name] === true)
    .map((name) => {
      const key = `${RINGWAY_MAP}.${name}`;
      const message = `${key} is accepted, without effect: io is epoll, and only io_uring has it`;
      return { code: 'CONFIG_INERT', key, origin: origins[name], message };
    });
}

/** A client has one session, and with it one shard (docs/decisions/0005). */
export function noteShards(values: { readonly shards?: number | 'auto' }, origin: Notice['origin']): Notice[] {
  if (typeof values.shards !== 'number' || values.shards === 1) return [];
  return [noteInert('shards', 'a client has one shard', origin)];
}

/** Whoever asks for a block has to hear where there is none. @param why undefined: there is one */
export function noteIpv6(
  values: { readonly ipv6?: 'leave' | 'block' },
  why: string | undefined,
  origin: Notice['origin'],
): Notice[] {
  return why !== undefined && values.ipv6 === 'block' ? [noteInert('ipv6', why, origin)] : [];
}

function noteInert(name: string, why: string, origin: Notice['origin']): Notice {
  const message = `${RINGWAY_MAP}.${name} is accepted, without effect: ${why}`;
  return { code: 'CONFIG_INERT', key: `${RINGWAY_MAP}.${name}`, origin, message };
}

/** Settles what `auto` means on this machine. */
export function settleBackends(values: Values<typeof backendKeys>, role: 'server' | 'client'): Backends {
  const cores = Math.min(availableParallelism(), MOST_SHARDS);
  const shards = role === 'client' ? 1 : values.shards === 'auto' ? cores : values.shards;
  return {
    io: values.io,
    aead: values.aead,
    gro: values.gro,
    tunOffload: values.tun_offload,
    groups: values.groups === 'auto' ? DEFAULT_GROUPS : values.groups,
    sqpoll: values.sqpoll,
    zeroCopy: values.zero_copy,
    ...settlePacing(values),
    userRates: [],
    shards,
    sessions: role === 'client' ? Math.min(values.sessions, 64) : values.sessions,
    state: values.state === 'auto' ? defaultState() : values.state,
    metricsAddress: values.metrics_address,
    ipv6: values.ipv6,
    runAs: values.run_as,
  };
}

/** What is said of rate and trains goes before the preset. */
function settlePacing(values: Values<typeof backendKeys>): Pick<Backends, 'paceRate' | 'trainSegments'> {
  const preset = values.pacing === 'internet' ? INTERNET : { paceRate: 0, trainSegments: 0 };
  return {
    paceRate: values.pace_rate === 'auto' ? preset.paceRate : values.pace_rate,
    trainSegments: values.train_segments === 'auto' ? preset.trainSegments : values.train_segments,
  };
}

/** /run/ringway for root; without root the user's own runtime folder, where there is one. */
export function defaultState(env: NodeJS.ProcessEnv = process.env): string {
  if (process.geteuid?.() === 0 || !env.XDG_RUNTIME_DIR) return '/run/ringway';
  return join(env.XDG_RUNTIME_DIR, 'ringway');
}
