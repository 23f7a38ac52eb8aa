/**
 * Every pair of backends through whole tunnels, in the real kernel: what the flags of docs/architecture.md choose between works with
 * whatever else is chosen. And what `--io auto` comes to where there is no io_uring.
 */
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { run } from '../../src/lab/programs.ts';
import { type EndOptions, RINGWAY, ringway, stateFolder, Tunnel } from '../../src/lab/tunnel.ts';
import type { ShardStatistics } from '../../src/observe/statistics.ts';
import { useLab } from './fixture.ts';

const CHOICES = {
  io: ['io_uring', 'epoll'],
  aead: ['auto', 'openssl', 'noble'], // auto: the fastest that is here
  gro: ['inline', 'off'],
  'tun-offload': ['on', 'off'],
  sqpoll: ['on', 'off'],
  'zero-copy': ['on', 'off'],
  shards: ['1', '2'],
} as const;
type Choice = keyof typeof CHOICES;
const NAMES = Object.keys(CHOICES) as Choice[];

/** In the order of CHOICES. */
const CASES: readonly (readonly string[])[] = [
  ['epoll', 'auto', 'off', 'off', 'off', 'on', '1'],
  ['io_uring', 'auto', 'inline', 'on', 'on', 'off', '2'],
  ['io_uring', 'openssl', 'off', 'on', 'off', 'on', '2'],
  ['io_uring', 'auto', 'inline', 'on', 'on', 'on', '1'],
  ['epoll', 'noble', 'off', 'off', 'on', 'off', '2'],
  ['epoll', 'openssl', 'inline', 'on', 'on', 'on', '1'],
  ['io_uring', 'noble', 'inline', 'on', 'off', 'on', '1'],
  ['io_uring', 'openssl', 'inline', 'off', 'off', 'off', '1'],
];
const TRANSFER_BYTES = 3_000_000;
const NO_RING = fileURLToPath(new URL('no_ring.py', import.meta.url));

function flagsOf(values: readonly string[], role: 'server' | 'client'): string[] {
  return NAMES.flatMap((name, i) => (name === 'shards' && role === 'client' ? [] : [`--${name}`, values[i]]));
}

describe('backends', () => {
  const fixture = useLab();

  const told = async (end: 'server' | 'client') => {
    const status = await run([RINGWAY, 'status', '--json', '--all', '--state', stateFolder(fixture.lab, end)]);
    return (JSON.parse(status) as { shards: ShardStatistics[] }[])[0].shards;
  };
  const start = (server: EndOptions, client: EndOptions) => {
    const { lab, credentials } = fixture;
    return Tunnel.start(lab, { mode: 'udp', expresslane: true, credentials, server, client });
  };
  const carries = async (tunnel: Tunnel) => {
    expect(await tunnel.ping(5)).toBe(5);
    for (const direction of ['up', 'down'] as const) {
      const { bytes, sent, received } = await tunnel.transfer(direction, TRANSFER_BYTES, 5);
      expect({ direction, bytes, received }).toEqual({ direction, bytes: TRANSFER_BYTES, received: sent });
    }
  };

  it('are chosen below so that every pair of them comes together', () => {
    const missing = NAMES.flatMap((name, i) =>
      NAMES.slice(i + 1).flatMap((other, k) =>
        CHOICES[name].flatMap((value) =>
          CHOICES[other]
            .filter((second) => !CASES.some((values) => values[i] === value && values[i + 1 + k] === second))
            .map((second) => `${name} ${value} with ${other} ${second}`),
        ),
      ),
    );
    expect(missing).toEqual([]);
  });

  it.each(CASES)('io %s, aead %s, gro %s, tun-offload %s, sqpoll %s, zero-copy %s, shards %s', async (...values) => {
    const { lab } = fixture;
    const ends = (['server', 'client'] as const).map((role) => ringway(lab, role, flagsOf(values, role)));
    const tunnel = await start(ends[0], ends[1]);
    await carries(tunnel);
    const [server, client] = [await told('server'), await told('client')];
    expect(server.map(({ io }) => io)).toEqual(Array(Number(values.at(-1))).fill(values[0]));
    expect(client.map(({ io }) => io)).toEqual([values[0]]);
    expect(await tunnel.stop()).toEqual({ client: 0, server: 0 });
  });

  it('io auto, where the kernel refuses io_uring: epoll at both ends, which is said once and seen in status', async () => {
    const { lab } = fixture;
    const without = (role: 'server' | 'client', errno: string, flags: readonly string[]) => {
      const end = ringway(lab, role, ['--io', 'auto', ...flags]);
      return { ...end, command: ['python3', NO_RING, errno, ...end.command] };
    };
    const tunnel = await start(without('server', 'EPERM', ['--shards', '2']), without('client', 'ENOSYS', []));
    await carries(tunnel);
    for (const [program, errno] of [
      [tunnel.server, 'EPERM'],
      [tunnel.client, 'ENOSYS'],
    ] as const) {
      const said = program.lines.filter((line) => line.includes('io_uring is not to be had here'));
      expect(said).toEqual([expect.stringMatching(`${errno}.*: epoll instead`)]);
    }
    expect((await told('server')).map(({ io }) => io)).toEqual(['epoll', 'epoll']);
    expect((await told('client')).map(({ io }) => io)).toEqual(['epoll']);
  });
});
