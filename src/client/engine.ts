/**
 * The client's engine: what the keeper starts, without privileges. It brings one session Online with the first server of the list that
 * lets it, and ends with a clear error when none does or when the session is over, as the stock client does: whoever
 * supervises it starts it again.
 */
import type { Piscina } from 'piscina';
import type { ClientConfig, ServerEntry } from '../config/types.ts';
import { Group } from '../crypto/groups.ts';
import { Suite } from '../crypto/vault.ts';
import { encodeAddress } from '../datapath/address.ts';
import { chooseAead, chooseGro } from '../datapath/backends.ts';
import { createCryptoPool } from '../datapath/crypto-pool.ts';
import { GENERATIONS_PER_ENGINE, type ShardReport } from '../datapath/host.ts';
import { ShardPool } from '../datapath/shard-pool.ts';
import { SessionTable } from '../datapath/table.ts';
import { type Keeper, runEngine } from '../keeper/engine-side.ts';
import type { ClientStart } from '../keeper/protocol.ts';
import type { Addon } from '../native/index.ts';
import { createLog, type Logger } from '../observe/log.ts';
import { serveMetrics } from '../observe/reports.ts';
import { type EngineStatistics, ownUse } from '../observe/statistics.ts';
import { handshakeMtu, type PathMtuConfig, pathMtuConfig } from '../session/path-mtu.ts';
import { CLIENT_DEFAULTS, type ClientConfig as SessionConfig } from '../session/types.ts';
import type { Auth } from '../wire/frames.ts';
import { VERSION_1_3 } from '../wire/header.ts';
import { continuedEntry } from './continued.ts';
import { endingError } from './endings.ts';
import { SLOT } from './sessions.ts';
import type { ClientShardTask } from './shard-task.ts';

class ClientEngine {
  readonly #addon: Addon;
  readonly #keeper: Keeper;
  readonly #start: ClientStart;
  readonly #config: ClientConfig;
  readonly #log: Logger;
  /** Shards attach by id; it lives as long as its handle is held. */
  readonly #index: ReturnType<Addon['createIndex']>;
  #crypto: Piscina | undefined;
  #shards: ShardPool<ClientShardTask> | undefined;
  #entry = 0;
  #online = false;

  constructor(addon: Addon, keeper: Keeper, start: ClientStart) {
    this.#addon = addon;
    this.#keeper = keeper;
    this.#start = start;
    this.#config = start.config;
    this.#log = createLog('client', start.config);
    const { table } = start.descriptors;
    this.#index = addon.createIndex(table.slots);
    const sessions = new SessionTable(addon.openTable(table).public, table.slots);
    const entry = continuedEntry(sessions, SLOT, this.#config.servers, start.addresses);
    if (entry === undefined) return;
    this.#entry = entry; // an earlier engine's session: go on with it
    this.#online = true;
  }

  run(): void {
    this.#keeper.onStop(() => this.#shards?.stop('stop'));
    this.#keeper.onYield(() => this.#shards?.stop('yield'));
    this.#keeper.onStatistics(() => this.#statistics());
    const { tun, generation } = this.#start;
    const source = async () => ({
      role: 'client' as const,
      tun: tun.name,
      generation,
      statistics: await this.#statistics(),
    });
    void serveMetrics(this.#config.metricsAddress, source, this.#log);
    this.#connect();
    this.#keeper.send({ type: 'ready' });
  }

  async #statistics(): Promise<EngineStatistics> {
    const shards = (await this.#shards?.statistics()) ?? [];
    return { ...ownUse(this.#addon.monotonicMicros()), assignedAddresses: null, ages: null, shards };
  }

  #connect(): void {
    const server = this.#config.servers[this.#entry];
    this.#log.info(`connecting to ${server.server.host}:${server.server.portNumber} over ${server.mode}`);
    const caCert = this.#start.files.caCerts[this.#entry];
    this.#crypto = createCryptoPool({ role: 'client', caCert, serverName: server.serverDn }, 1);
    this.#shards = new ShardPool(1, {
      task: (_shard, restarts) => this.#task(server, restarts),
      heard: (_shard, report) => this.#heard(report),
      died: (_shard, error) =>
        this.#log.error({ error: error.message }, 'the shard died; its session goes on in a new one'),
      gaveUp: () => process.exit(70),
    });
    this.#shards.start();
  }

  #task(server: ServerEntry, restarts: number): ClientShardTask {
    const { descriptors, generation, tun, addresses, files } = this.#start;
    const config = this.#config;
    const address = addresses[this.#entry][0];
    const suite = server.cipher === 'chacha20' ? Suite.chacha20 : Suite.aes256;
    return {
      role: 'client',
      options: {
        shard: 0,
        shards: 1,
        generation: generation * GENERATIONS_PER_ENGINE + restarts,
        io: config.io,
        aead: chooseAead(this.#addon, config.aead),
        gro: chooseGro(config.gro, tun),
        sqpoll: config.sqpoll,
        zeroCopy: config.zeroCopy,
        trainSegments: config.trainSegments,
        paced: config.paceRate > 0,
        tun: descriptors.tun[0],
        vnetHeader: tun.vnetHeader,
        udp: server.mode === 'udp' ? descriptors.udp[this.#entry] : -1,
        doors: [],
        table: descriptors.table,
        index: this.#index.id,
        handover: undefined,
        single: SLOT,
      },
      suites: [suite],
      groups: groupsOf(config),
      handshakeMtu: handshakeMtu(server.outsideMtu, this.#pathMtu(server)),
      session: this.#session(server),
      tunLocalIp: config.tunLocalIp,
      tunDnsIp: config.tunDnsIp,
      paceRate: config.paceRate,
      remote: server.mode === 'udp' ? encodeAddress(address, server.server.portNumber, '') : undefined,
      tcp:
        server.mode === 'tcp'
          ? {
              address,
              portNumber: server.server.portNumber,
              caCert: files.caCerts[this.#entry],
              serverName: server.serverDn,
              suites: suite === Suite.chacha20 ? 'TLS_CHACHA20_POLY1305_SHA256' : 'TLS_AES_256_GCM_SHA384',
            }
          : undefined,
    };
  }

  #pathMtu(server: ServerEntry): PathMtuConfig | undefined {
    const { enablePmtud, pmtudBaseMtu } = this.#config;
    return enablePmtud ? pathMtuConfig(server.outsideMtu, pmtudBaseMtu) : undefined;
  }

  #session(server: ServerEntry): Omit<SessionConfig, 'counters'> {
    const config = this.#config;
    const credentials: Auth =
      server.token === null
        ? { method: 'userPass', user: server.user ?? '', password: new TextEncoder().encode(server.password ?? '') }
        : { method: 'versionedToken', version: VERSION_1_3, token: server.token };
    return {
      transport: server.mode,
      expresslane: { enabled: config.enableExpresslane, rotationInterval: config.expresslaneKeysRotationInterval },
      keepalive: {
        interval: config.keepaliveInterval,
        timeout: config.keepaliveTimeout,
        continuous: config.keepaliveContinuous,
        tracerTimeout: config.tracerPacketTimeout,
      },
      credentials,
      loginWait: CLIENT_DEFAULTS.loginWait,
      pathMtu: this.#pathMtu(server),
    };
  }

  #heard(report: ShardReport): void {
    switch (report.type) {
      case 'ready':
        if (report.note) this.#log.info(report.note);
        return;
      case 'note':
        return void this.#log.warn(report.text);
      case 'task':
        this.#crypto?.run({ task: report.task }).then(
          (result) => this.#shards?.send(0, { type: 'taskDone', id: report.id, result }),
          (error: Error) =>
            this.#shards?.send(0, {
              type: 'taskDone',
              id: report.id,
              result: { op: 'refused', alert: 80, reason: error.message }, // internal_error, RFC 8446 §6.2
            }),
        );
        return;
      case 'online':
        this.#online = true;
        this.#log.info('online');
        this.#keeper.send({
          type: 'clientOnline',
          networkConfig: { serverAddress: this.#start.addresses[this.#entry][0], ...report.networkConfig },
        });
        return;
      case 'ended':
        return void this.#ended(report.code, report.reason);
    }
  }

  async #ended(code: string, reason: string): Promise<void> {
    const server = this.#config.servers[this.#entry];
    const error = endingError(code, reason, `${server.server.host}:${server.server.portNumber}`);
    await this.#shards?.stop('yield');
    if (this.#online || this.#entry + 1 >= this.#config.servers.length) return this.#keeper.fatal(error);
    this.#log.warn(`${error.message} [${error.code}]: trying the next server`);
    await this.#crypto?.destroy();
    this.#entry++;
    this.#connect();
  }
}

/** What is offered, best first. The first ClientHello carries no share: a cookie makes the server answer with a retry anyway. */
function groupsOf(config: ClientConfig): number[] {
  const others = [Group.x25519, Group.secp256r1, Group.secp384r1];
  const hybrids = [Group.x25519MlKem768, Group.secp521r1MlKem1024];
  return [...(config.keyshare === 'p521mlkem1024' ? hybrids.reverse() : hybrids), ...others];
}

await runEngine('client', (addon, keeper, start) => new ClientEngine(addon, keeper, start).run());
