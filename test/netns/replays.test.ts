/**
 * Replays on a real link: recorded where the client's datagrams leave, sent again, and counted; by the server's kernel where it takes the filter, else
 * by the shards. The session goes on whatever becomes of its keys, its ids and its engine.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCredentials } from '../../src/lab/credentials.ts';
import { Lab, NET_NETWORK, SERVER_OUTSIDE } from '../../src/lab/hosts.ts';
import { kill, run } from '../../src/lab/programs.ts';
import {
  CLIENT_DEVICE,
  type EndOptions,
  RINGWAY,
  ringway,
  startClient,
  stateFolder,
  Tunnel,
  type TunnelOptions,
} from '../../src/lab/tunnel.ts';
import type { ShardStatistics } from '../../src/observe/statistics.ts';
import { filterRefusal } from '../io/rig.ts';

const REPLAY = join(import.meta.dirname, 'replay.py');
const PORT_NUMBER = '27690';
const COUNT = 20;
const CLIENT_INSIDE = '100.64.0.6';
/** So often that every test sees several: of the session's id too, as that changes with the DTLS keys. */
const CHANGES = { expresslane_keys_rotation_interval: '1s', key_update_interval: '1s' };
const REFUSED = /the kernel refuses to filter sockets \(EPERM\)/;
const refusal = filterRefusal();
if (refusal) console.warn(`without the filter: ${refusal}`);

interface Told {
  readonly enginePid: number;
  readonly shards: readonly ShardStatistics[];
}

class Attacked {
  readonly lab: Lab;
  readonly tunnel: Tunnel;
  readonly #file: string;
  readonly #options: TunnelOptions;

  constructor(lab: Lab, tunnel: Tunnel, options: TunnelOptions) {
    this.lab = lab;
    this.tunnel = tunnel;
    this.#options = options;
    this.#file = join(lab.folder, 'recorded.json');
  }

  /** Another client, in place of one that has ended. */
  async connect(): Promise<void> {
    const { client } = this.lab;
    await startClient(this.lab, this.#options);
    await client.device(CLIENT_DEVICE);
    await client.run('ip', 'address', 'replace', `${CLIENT_INSIDE}/32`, 'dev', CLIENT_DEVICE);
    await client.run('ip', 'link', 'set', CLIENT_DEVICE, 'up');
    await client.run('ip', 'route', 'replace', NET_NETWORK, 'dev', CLIENT_DEVICE, 'src', CLIENT_INSIDE);
    expect(await this.tunnel.carries(15)).toBe(true);
  }

  async told(): Promise<Told> {
    const text = await run([RINGWAY, 'status', '--json', '--all', '--state', stateFolder(this.lab, 'server')]);
    return (JSON.parse(text) as Told[])[0];
  }

  async counted(name: string): Promise<number> {
    return (await this.told()).shards.reduce((sum, { verdicts }) => sum + (verdicts[name] ?? 0), 0);
  }

  /** Records datagrams of pings. */
  async record(): Promise<void> {
    const kind = this.#options.expresslane ? 'lane' : 'record';
    const words = ['python3', REPLAY, 'record', kind, this.#file, 'c0', SERVER_OUTSIDE, PORT_NUMBER, String(COUNT)];
    const recorder = this.lab.client.start('recorder', words);
    await recorder.line(/^recording/);
    const pings = this.tunnel.ping(COUNT);
    await recorder.line(/^recorded/, 30_000);
    expect(await pings).toBe(COUNT);
    expect(await this.tunnel.ping(1)).toBe(1); // the last recorded may be the first of a new id, which is told of with the next
  }

  /** Sends what was recorded so often over. */
  async send(times: number): Promise<void> {
    const words = ['python3', REPLAY, 'again', this.#file, SERVER_OUTSIDE, String(times)];
    expect(await this.lab.client.run(...words)).toBe(`${times * COUNT}\n`);
  }

  /** Sends what was recorded once more. @returns by how much each counter grew */
  async replay(...names: string[]): Promise<number[]> {
    const before = await Promise.all(names.map((name) => this.counted(name)));
    await this.send(1);
    expect(await this.tunnel.ping(COUNT)).toBe(COUNT);
    const after = await Promise.all(names.map((name) => this.counted(name)));
    return after.map((count, i) => count - before[i]);
  }
}

async function attack(lab: Lab, server: EndOptions, expresslane = true): Promise<Attacked> {
  const credentials = await createCredentials(lab.folder);
  const client = ringway(lab, 'client', [], { expresslane_keys_rotation_interval: '1s' });
  const options = { mode: 'udp', expresslane, credentials, server, client } as const;
  return new Attacked(lab, await Tunnel.start(lab, options), options);
}

describe.skipIf(refusal !== undefined)('a server whose kernel filters', () => {
  let lab: Lab;
  let attacked: Attacked;
  beforeAll(async () => {
    lab = await Lab.create();
    attacked = await attack(lab, ringway(lab, 'server', ['--shards', '2'], CHANGES));
    await attacked.tunnel.ping(COUNT);
  });
  afterAll(() => lab?.close());

  it('loses replays to it, all counted, and no other datagram, while keys and ids change', async () => {
    await attacked.record();
    expect(await attacked.replay('filtered', 'replayed', 'socketFull', 'forged')).toEqual([COUNT, 0, 0, 0]);
    expect(await attacked.tunnel.ping(300)).toBe(300); // 3 s
    await attacked.record();
    expect(await attacked.replay('filtered', 'replayed', 'socketFull', 'forged')).toEqual([COUNT, 0, 0, 0]);
  });

  it.each(['killed', 'reloaded'])('filters on when its engine is %s', async (how) => {
    const { server } = attacked.tunnel;
    await attacked.record();
    const said = server.lines.length;
    if (how === 'killed') expect(kill((await attacked.told()).enginePid, 'SIGKILL')).toBe(true);
    else await run([RINGWAY, 'reload', '--all', '--state', stateFolder(lab, 'server')]);
    if (how === 'killed') await server.line(/engine started/, 10_000, said);
    expect(await attacked.tunnel.carries(10)).toBe(true);
    expect(await attacked.tunnel.ping(COUNT)).toBe(COUNT);
    const [filtered, replayed] = await attacked.replay('filtered', 'replayed');
    expect(filtered + replayed).toBe(COUNT); // the id may be one that only the engine before knew
    await attacked.record();
    expect(await attacked.replay('filtered', 'replayed')).toEqual([COUNT, 0]);
    expect(server.lines.filter((line) => /is online/.test(line))).toHaveLength(1);
  });

  it('gives the next session a fresh start', async () => {
    await attacked.tunnel.client.stop();
    await attacked.connect();
    await attacked.record();
    expect(await attacked.replay('filtered', 'replayed', 'socketFull', 'forged')).toEqual([COUNT, 0, 0, 0]);
  });
});

describe.skipIf(refusal !== undefined)('a server whose kernel filters, and whose session is of records alone', () => {
  let lab: Lab;
  let attacked: Attacked;
  beforeAll(async () => {
    lab = await Lab.create();
    attacked = await attack(lab, ringway(lab, 'server', ['--shards', '2'], CHANGES), false);
    await attacked.tunnel.ping(COUNT);
  });
  afterAll(() => lab?.close());

  it('loses a flood of replays to it, and no ping, while keys and ids change', async () => {
    for (let flood = 0; flood < 3; flood++) {
      await attacked.record();
      const before = await attacked.counted('filtered');
      let flooding = true;
      const pings = (async () => {
        while (flooding) expect(await attacked.tunnel.ping(50)).toBe(50);
      })();
      try {
        for (let tries = 0; tries < 20 && (await attacked.counted('filtered')) === before; tries++)
          await attacked.send(1_000); // how fast they go decides whether it is a flood
      } finally {
        flooding = false;
      }
      await pings;
      expect(await attacked.counted('filtered')).toBeGreaterThan(before);
    }
    expect(attacked.tunnel.server.lines.filter((line) => /is online/.test(line))).toHaveLength(1);
  });
});

describe('a server that may not load programs', () => {
  let lab: Lab;
  let attacked: Attacked;
  beforeAll(async () => {
    lab = await Lab.create();
    const server = ringway(lab, 'server', ['--shards', '2'], CHANGES);
    const withoutRights = ['setpriv', '--bounding-set', '-bpf,-sys_admin', ...server.command];
    attacked = await attack(lab, { ...server, command: withoutRights });
  });
  afterAll(() => lab?.close());

  it('says so once, refuses replays itself, and counts them', async () => {
    await attacked.record();
    const [filtered, replayed] = await attacked.replay('filtered', 'replayed');
    expect([filtered, replayed]).toEqual([0, COUNT]);
    const { lines } = attacked.tunnel.server;
    expect(lines.filter((line) => REFUSED.test(line))).toHaveLength(1);
    expect(lines.filter((line) => line.includes('refuses'))).toHaveLength(3); // and steering of packets, and the device's queue
  });
});
