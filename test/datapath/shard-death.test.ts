/**
 * Shards on threads of their own, killed in the middle of their work. Every session goes on in the successor without a handshake, and
 * nothing is ever sealed under a number that was used before. RINGWAY_TERMINATIONS says how often (default 30, 6 with the sanitizer
 * build; 1,000 before a release).
 */
import { once } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DEFAULT_GROUPS } from '../../src/crypto/groups.ts';
import { schemesOf } from '../../src/crypto/schemes.ts';
import { runTask } from '../../src/crypto/tasks.ts';
import { Suite } from '../../src/crypto/vault.ts';
import type { ShardReport } from '../../src/datapath/host.ts';
import { ShardPool } from '../../src/datapath/shard-pool.ts';
import { SessionTable } from '../../src/datapath/table.ts';
import { DtlsDrop } from '../../src/dtls/events.ts';
import { parseIpv4 } from '../../src/server/leases.ts';
import type { ServerShardTask } from '../../src/server/shard-task.ts';
import { SERVER_DEFAULTS } from '../../src/session/types.ts';
import { type Micros, SECOND } from '../../src/wire/time.ts';
import { seededBytes } from '../dtls/network.ts';
import { addon, backends, type Io, namespaceRefusal } from '../io/rig.ts';
import { build, UDP } from '../packet/packets.ts';
import { createMemory, serverSide } from '../server/memory-server.ts';
import { CLIENT_INSIDE, Inside, NET_ADDRESS, numbered, openGroup, RigClient, type Surroundings } from './rig.ts';

const refusal = namespaceRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

const terminations = Number(process.env.RINGWAY_TERMINATIONS ?? (addon.about().sanitizer === '' ? 30 : 6));
/** An engine has generations for 255 deaths of a shard. */
const MOST_PER_ENGINE = 400;
const engines = Math.ceil(terminations / MOST_PER_ENGINE);
const SHARDS = 2;
const SLOTS = 16;
/** Longer than anything here takes; the event loop is given back meanwhile. */
const PATIENCE: Micros = 20 * SECOND;

/** An engine's main thread, its shards real. */
class Engine implements Surroundings {
  readonly table: SessionTable;
  readonly address: Uint8Array;
  readonly inside = new Inside(SHARDS, true);
  readonly clients: RigClient[] = [];
  readonly deaths: { shard: number; message: string }[] = [];
  ready = 0;
  readonly #pool: ShardPool<ServerShardTask>;
  readonly #memory = createMemory(SLOTS);
  readonly #sockets: number[];
  #nextLease = parseIpv4('10.125.0.16');

  constructor(io: Io) {
    const { sockets, address } = openGroup(SHARDS, true);
    this.#sockets = sockets;
    this.address = address;
    this.table = new SessionTable(addon.openTable(this.#memory).public, SLOTS);
    const index = addon.createIndex(SLOTS);
    const handover = addon.createHandover(SHARDS, 1 << 20);
    const task = (shard: number, restarts: number): ServerShardTask => ({
      role: 'server',
      options: {
        shard,
        shards: SHARDS,
        generation: 256 + restarts,
        io,
        aead: addon.about().aead[0],
        gro: 'inline',
        sqpoll: false,
        zeroCopy: false,
        trainSegments: 64,
        paced: true,
        tun: this.inside.descriptors[shard],
        vnetHeader: true,
        udp: sockets[shard],
        doors: sockets.slice(SHARDS).filter((_, i) => i % SHARDS === shard),
        table: this.#memory,
        index: index.id,
        handover: handover.id,
        single: undefined,
      },
      cookieSeed: seededBytes(1)(32),
      suites: [Suite.aes256],
      groups: DEFAULT_GROUPS,
      schemes: schemesOf(serverSide.privateKey as never),
      certificateChain: serverSide.certificateChain as never,
      session: { ...SERVER_DEFAULTS, expresslane: { enabled: true, rotationInterval: 900 * SECOND } },
      keyUpdateInterval: 900 * SECOND,
      tcp: undefined,
    });
    this.#pool = new ShardPool(
      SHARDS,
      {
        task,
        heard: (shard, report) => this.#heard(shard, report),
        died: (shard, error) => this.deaths.push({ shard, message: error.message }),
        gaveUp: (_shard, error) => {
          throw error;
        },
      },
      Number.POSITIVE_INFINITY,
    );
    this.#pool.start();
  }

  get now(): Micros {
    return addon.monotonicMicros();
  }

  /** Runs clients and event loop until `done`. */
  async until(done: () => boolean, what: string): Promise<void> {
    const end = this.now + PATIENCE;
    while (!done()) {
      if (this.now > end) throw new Error(`not in ${PATIENCE / SECOND} s: ${what}`);
      for (const client of this.clients) client.take();
      await setImmediate();
    }
  }

  async connect(host: number): Promise<RigClient> {
    const client = new RigClient(this, host);
    this.clients.push(client);
    client.flush();
    await this.until(() => client.session.state === 'online' && client.keys.sendValid(), `client ${host} is Online`);
    return client;
  }

  async terminate(thread: number): Promise<void> {
    const worker = this.#pool.threads[thread % this.#pool.threads.length];
    const gone = once(worker, 'exit');
    void worker.terminate();
    await gone;
  }

  /** What no shard understands: an exception in its message handler. */
  confuse(shard: number): void {
    this.#pool.send(shard, null as never);
  }

  statistics() {
    return this.#pool.statistics();
  }

  async close(): Promise<void> {
    await this.#pool.stop('stop');
    expect(this.#pool.threads).toHaveLength(0);
    for (const client of this.clients) client.socket.close();
    this.inside.close();
    for (const descriptor of [...this.#sockets, this.#memory.public, this.#memory.secret])
      addon.closeDescriptor(descriptor);
  }

  #heard(shard: number, report: ShardReport): void {
    if (report.type === 'ready') this.ready++;
    if (report.type === 'task')
      this.#pool.send(shard, { type: 'taskDone', id: report.id, result: runTask(report.task, serverSide) });
    if (report.type !== 'authenticate') return;
    const insideAddress = this.#nextLease++;
    if (this.inside.steering) this.inside.steering[insideAddress & 255] = shard;
    const networkConfig = { localIp: CLIENT_INSIDE, peerIp: '10.125.0.6', dnsIp: '10.125.0.1', mtu: 1350 };
    const grant = { insideAddress, networkConfig, paceRate: 0 };
    this.#pool.send(shard, { type: 'authorised', id: report.id, grant, code: 'ACCESS_DENIED' });
  }
}

const up = (number: number) =>
  build({ ...UDP, source: parseIpv4(CLIENT_INSIDE), destination: NET_ADDRESS, payload: numbered(number) });
const down = (lease: number, number: number) =>
  build({ ...UDP, source: NET_ADDRESS, destination: lease, payload: numbered(number) });

const lives = backends().flatMap((io) => Array.from({ length: engines }, (_, i) => [io, i + 1] as const));

describe.skipIf(refusal !== undefined).each(lives)('shards over %s that are killed under traffic, engine %i', (io) => {
  let engine: Engine;
  const leases: number[] = [];

  beforeAll(async () => {
    engine = new Engine(io);
    for (const host of [2, 3, 4, 5]) await engine.connect(host);
    for (const client of engine.clients) leases.push(client.lease);
  });
  afterAll(() => engine?.close());

  /** Keeps packets coming on every lane of every client, both ways. */
  function load(number: number): void {
    for (const [i, client] of engine.clients.entries()) {
      client.send([client.lane(up(number)), client.record(up(number))]);
      client.ping();
      client.flush();
      engine.inside.send([down(leases[i], number)]);
    }
    engine.inside.receive();
  }

  /** Every session carries packets both ways: without steering by luck, since a session's shard does not change. */
  async function allCarry(number: number): Promise<void> {
    for (const client of engine.clients) client.packets.length = 0;
    await engine.until(() => {
      load(number);
      return engine.clients.every((client) => client.packets.length > 0);
    }, 'every session carries packets');
  }

  /** @returns after as many deaths as asked for, each noticed and mended */
  async function killed(count: number, kill: (i: number) => void): Promise<void> {
    for (let i = 0; i < count; i++) {
      const { ready } = engine;
      const deaths = engine.deaths.length;
      for (let each = 0; each < 1 + (i % 7); each++) load(i);
      kill(i);
      await engine.until(
        () => {
          load(i);
          return engine.deaths.length > deaths && engine.ready > ready;
        },
        `a successor after death ${i + 1}`,
      );
      await allCarry(i);
    }
  }

  function nothingWasRepeated(): void {
    for (const client of engine.clients) {
      expect(client.closed).toEqual([]);
      expect(client.dtls.state).toBe('established');
      expect(client.repeated).toBe(0);
      expect(client.dtls.drops[DtlsDrop.replayed]).toBe(0);
      expect(client.dtls.drops[DtlsDrop.unauthentic]).toBe(0);
    }
    expect(engine.clients.map((client) => client.lease)).toEqual(leases);
  }

  const times = Math.ceil(terminations / engines);
  it(`by terminate(), ${times} times: every session goes on, and no number is used twice`, async () => {
    await killed(times, (i) => void engine.terminate(i));
    nothingWasRepeated();
    expect(engine.deaths.length).toBe(times);
  }, 1_200_000);

  it('by an exception', async () => {
    const before = engine.deaths.length;
    await killed(4, (i) => engine.confuse(i % SHARDS));
    nothingWasRepeated();
    const deaths = engine.deaths.slice(before);
    expect(deaths.map(({ shard }) => shard)).toEqual([0, 1, 0, 1]);
    for (const { message } of deaths) expect(message).toMatch(/Cannot read properties of null/);
  }, 60_000);

  it('still count, and their statistics do not wait for the dead', async () => {
    const answers = engine.statistics();
    await engine.terminate(0);
    expect((await answers).length).toBeGreaterThanOrEqual(1);
    await engine.until(() => engine.ready % SHARDS === engine.deaths.length % SHARDS, 'a successor');
    await allCarry(0);
    const counted = await engine.statistics();
    expect(counted.reduce((sum, { online }) => sum + online, 0)).toBe(engine.clients.length);
  }, 60_000);
});
