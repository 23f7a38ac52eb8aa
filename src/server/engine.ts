/**
 * The server's engine: what the keeper starts, without privileges. Its main thread knows configuration, logins and leases;
 * packets are the shards' own affair.
 */
import { randomBytes } from 'node:crypto';
import type { Piscina } from 'piscina';
import type { ServerConfig } from '../config/types.ts';
import { derOf, privateKeyOf } from '../crypto/pem.ts';
import { schemesOf } from '../crypto/schemes.ts';
import type { CryptoTask, TaskResult } from '../crypto/tasks.ts';
import { Suite } from '../crypto/vault.ts';
import { chooseAead, chooseGro, chooseTrain } from '../datapath/backends.ts';
import { createCryptoPool, patient } from '../datapath/crypto-pool.ts';
import { GENERATIONS_PER_ENGINE, type Grant, type ShardReport } from '../datapath/host.ts';
import { SlotState } from '../datapath/layout.ts';
import { sessionAges } from '../datapath/session-ages.ts';
import { ShardPool } from '../datapath/shard-pool.ts';
import { SessionTable } from '../datapath/table.ts';
import { type Keeper, runEngine } from '../keeper/engine-side.ts';
import type { ServerStart } from '../keeper/protocol.ts';
import type { Addon } from '../native/index.ts';
import { createLog, type Logger } from '../observe/log.ts';
import { logStatisticsEvery, serveMetrics } from '../observe/reports.ts';
import { droppedAtDevice, type EngineStatistics, ownUse } from '../observe/statistics.ts';
import { SERVER_DEFAULTS } from '../session/types.ts';
import { Grants } from './grants.ts';
import { formatIpv4, Leases, parseIpv4 } from './leases.ts';
import type { LoginRequest } from './logins.ts';
import type { ServerShardTask } from './shard-task.ts';

/** Bytes of each handover ring: some sixty full trains a shard. */
const HANDOVER_BYTES = 4 << 20;

class ServerEngine {
  readonly #addon: Addon;
  readonly #start: ServerStart;
  readonly #config: ServerConfig;
  readonly #log: Logger;
  /** Datagrams of one send at most. */
  readonly #trainSegments: number;
  readonly #keeper: Keeper;
  readonly #crypto: Piscina;
  readonly #leases: Leases;
  readonly #grants = new Grants();
  readonly #shards: ShardPool<ServerShardTask>;
  readonly #table: SessionTable;
  // Shards attach by id; what is attached to lives as long as somebody holds its handle.
  readonly #index: ReturnType<Addon['createIndex']>;
  readonly #handover: ReturnType<Addon['createHandover']> | undefined;
  readonly #steering: Uint8Array | undefined;
  /**
   * For all shards, and for those that take the place of one that died: a cookie given just before is still good, and a hello repeated with it
   * finds the session it began, or begins it again. A new engine has a new one, and its clients begin anew.
   */
  readonly #cookieSeed = randomBytes(32);
  readonly #mtu: number;
  readonly #ready = new Set<number>();
  readonly #userRates: ReadonlyMap<string, number>;

  constructor(addon: Addon, keeper: Keeper, start: ServerStart) {
    this.#addon = addon;
    this.#keeper = keeper;
    this.#start = start;
    this.#config = start.config;
    this.#log = createLog('server', start.config);
    const { segments, note } = chooseTrain(addon, start.config.trainSegments);
    this.#trainSegments = segments;
    if (note) this.#log.warn(note);
    const { config, files, descriptors } = start;
    this.#crypto = createCryptoPool({ role: 'server', ...files });
    this.#leases = new Leases({
      pool: config.ipPool,
      reserved: [config.tunIp, config.lightwayClientIp, config.lightwayServerIp, config.lightwayDnsIp].flatMap(
        (ip) => ip ?? [],
      ),
      ipMap: config.ipMap,
      random: (length) => new Uint8Array(randomBytes(length)),
    });
    const { table } = descriptors;
    this.#table = new SessionTable(addon.openTable(table).public, table.slots);
    this.#index = addon.createIndex(table.slots);
    this.#handover = this.#count > 1 ? addon.createHandover(this.#count, HANDOVER_BYTES) : undefined;
    if (descriptors.steering) {
      const { map, entries } = descriptors.steering;
      this.#steering = new Uint8Array(addon.attachSteering(map, entries).buffer);
    }
    this.#mtu = addon.tunMtu(start.tun.name);
    this.#userRates = new Map(config.userRates.map(({ user, paceRate }) => [user, paceRate]));
    for (let slot = 0; slot < this.#table.usedSlots; slot++)
      if (this.#table.fields.state.get(slot) === SlotState.online) {
        const insideAddress = this.#table.insideAddress(slot);
        this.#leases.adopt(insideAddress);
        this.#grants.granted(insideAddress, slot % this.#count);
      }
    this.#shards = new ShardPool(this.#count, {
      task: (shard, restarts) => this.#task(shard, restarts),
      heard: (shard, report) => this.#heard(shard, report),
      died: (shard, error) => {
        this.#log.error({ shard, error: error.message }, 'a shard died; its sessions go on in a new one');
        this.#grants.died(shard);
      },
      gaveUp: (shard, error) => {
        this.#log.error({ shard, error: error.message }, 'a shard keeps dying');
        process.exit(70);
      },
    });
  }

  get #count(): number {
    return Math.max(1, this.#config.shards);
  }

  run(): void {
    this.#keeper.onStop(() => this.#shards.stop('stop'));
    this.#keeper.onYield(() => this.#shards.stop('yield'));
    const gather = () => this.#statistics();
    this.#keeper.onStatistics(gather);
    logStatisticsEvery(this.#config.statisticsReportingInterval, gather, this.#log);
    const { tun, generation } = this.#start;
    const source = async () => ({ role: 'server' as const, tun: tun.name, generation, statistics: await gather() });
    void serveMetrics(this.#config.metricsAddress, source, this.#log);
    this.#shards.start();
  }

  async #statistics(): Promise<EngineStatistics> {
    const [shards, tunDropped] = await Promise.all([this.#shards.statistics(), droppedAtDevice(this.#start.tun.name)]);
    const now = this.#addon.monotonicMicros();
    const assignedAddresses = this.#leases.leased;
    return { ...ownUse(now), assignedAddresses, ages: sessionAges(this.#table, now), tunDropped, shards };
  }

  #task(shard: number, restarts: number): ServerShardTask {
    const { descriptors, generation, tun, files } = this.#start;
    const config = this.#config;
    const privateKey = privateKeyOf(files.key, 'server_key');
    return {
      role: 'server',
      options: {
        shard,
        shards: this.#count,
        generation: generation * GENERATIONS_PER_ENGINE + restarts,
        io: config.io,
        aead: chooseAead(this.#addon, config.aead),
        gro: chooseGro(config.gro, tun),
        sqpoll: config.sqpoll,
        zeroCopy: config.zeroCopy,
        trainSegments: this.#trainSegments,
        paced: config.paceRate > 0 || this.#userRates.size > 0,
        tun: descriptors.tun[shard % descriptors.tun.length], // a device with fewer queues is shared
        vnetHeader: tun.vnetHeader,
        udp: descriptors.udp[shard] ?? -1,
        doors: descriptors.doors.filter((_, i) => i % this.#count === shard),
        table: descriptors.table,
        filter: descriptors.filter ? { ...descriptors.filter, half: generation % 2 } : undefined,
        tunShares: descriptors.tunShares
          ? { map: descriptors.tunShares.map, queue: shard % descriptors.tun.length, queues: descriptors.tun.length }
          : undefined,
        index: this.#index.id,
        handover: this.#handover?.id,
        single: undefined,
      },
      cookieSeed: this.#cookieSeed,
      suites: [Suite.aes256, Suite.chacha20, Suite.aes128],
      groups: config.groups,
      schemes: schemesOf(privateKey),
      certificateChain: derOf(files.cert, 'server_cert'),
      session: {
        ...SERVER_DEFAULTS,
        expresslane: { enabled: config.enableExpresslane, rotationInterval: config.expresslaneKeysRotationInterval },
      },
      keyUpdateInterval: config.keyUpdateInterval,
      tcp:
        config.mode === 'tcp'
          ? { listener: descriptors.tcp[shard], cert: files.cert, key: files.key, proxyProtocol: config.proxyProtocol }
          : undefined,
    };
  }

  #heard(shard: number, report: ShardReport): void {
    switch (report.type) {
      case 'ready':
        if (report.note && shard === 0) this.#log.info(report.note);
        this.#log.debug({ shard, io: report.io, aead: report.aead }, 'shard is ready');
        this.#settleGrants(shard);
        if (this.#ready.has(shard)) return;
        if (this.#ready.add(shard).size === this.#count) this.#keeper.send({ type: 'ready' });
        return;
      case 'note':
        return void this.#log.warn({ shard }, report.text);
      case 'task':
        return void this.#compute(shard, report.id, report.task);
      case 'authenticate':
        return void this.#authenticate(shard, report);
      case 'released':
        this.#log.debug({ inside: formatIpv4(report.insideAddress) }, 'a session has ended');
        this.#grants.released(report.insideAddress);
        this.#leases.free(report.insideAddress);
    }
  }

  #settleGrants(shard: number): void {
    const held = new Set<number>();
    for (let slot = 0; slot < this.#table.usedSlots; slot++) held.add(this.#table.insideAddress(slot));
    for (const address of this.#grants.settled(shard, held)) this.#leases.free(address);
  }

  async #compute(shard: number, id: number, task: CryptoTask): Promise<void> {
    let result: TaskResult;
    try {
      result = await this.#crypto.run({ task });
    } catch (error) {
      this.#log.error({ op: task.op, error: (error as Error).message }, 'a public-key operation failed');
      result = { op: 'refused', alert: 80, reason: 'internal error' }; // internal_error, RFC 8446 §6.2
    }
    this.#shards.send(shard, { type: 'taskDone', id, result });
  }

  async #authenticate(shard: number, report: Extract<ShardReport, { type: 'authenticate' }>): Promise<void> {
    const refuse = (code: 'ACCESS_DENIED' | 'NO_ADDRESS') =>
      this.#shards.send(shard, { type: 'authorised', id: report.id, grant: undefined, code });
    let granted = false;
    let user: string | undefined;
    let why: string;
    try {
      const { auth } = report;
      const login: LoginRequest = { auth };
      const transferList = auth.method === 'userPass' ? [auth.password.buffer as ArrayBuffer] : [];
      const outcome = (await this.#crypto.run(patient({ login }), { transferList })) as {
        granted: boolean;
        user: string;
        reason: string;
      };
      granted = outcome.granted;
      user = outcome.user;
      why = granted ? outcome.user : `${outcome.user}: ${outcome.reason}`;
    } catch (error) {
      why = (error as Error).message;
    }
    if (!granted) {
      this.#log.info({ peer: report.peerAddress }, `login refused: ${why}`);
      return refuse('ACCESS_DENIED');
    }
    const local = report.localAddress.includes('.') ? parseIpv4(report.localAddress) : undefined;
    const insideAddress = this.#leases.allocate(local);
    if (insideAddress === undefined) {
      this.#log.warn({ peer: report.peerAddress }, 'login refused: no inside address is free');
      return refuse('NO_ADDRESS');
    }
    this.#grants.granted(insideAddress, shard);
    const { address, prefix } = this.#config.ipPool;
    const entry = insideAddress - ((parseIpv4(address) & (-1 << (32 - prefix))) >>> 0);
    if (this.#steering && entry >= 0 && entry < this.#steering.length) this.#steering[entry] = shard;
    const { lightwayClientIp, lightwayServerIp, lightwayDnsIp } = this.#config;
    const networkConfig = { localIp: lightwayClientIp, peerIp: lightwayServerIp, dnsIp: lightwayDnsIp, mtu: this.#mtu };
    const paceRate = this.#userRates.get(user ?? '') ?? this.#config.paceRate;
    const grant: Grant = { insideAddress, networkConfig, paceRate };
    this.#log.info({ peer: report.peerAddress, inside: formatIpv4(insideAddress) }, `${why} is online`);
    this.#shards.send(shard, { type: 'authorised', id: report.id, grant, code: 'ACCESS_DENIED' });
  }
}

await runEngine('server', (addon, keeper, start) => new ServerEngine(addon, keeper, start).run());
