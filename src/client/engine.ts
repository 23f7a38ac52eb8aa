/**
 * The client's engine: what the keeper starts, without privileges. It dials all servers of the list at once, each with a shard of its own, stays
 * with one (contest.ts), and ends with a clear error when none lets it in or when the session is over, as the stock client does: whoever
 * supervises it starts it again.
 */
import type { Piscina } from 'piscina';
import type { ClientConfig, ServerEntry } from '../config/types.ts';
import { Group } from '../crypto/groups.ts';
import { Suite } from '../crypto/vault.ts';
import { encodeAddress } from '../datapath/address.ts';
import { chooseAead, chooseGro, chooseTrain } from '../datapath/backends.ts';
import { createCryptoPool } from '../datapath/crypto-pool.ts';
import { GENERATIONS_PER_ENGINE, type ShardReport } from '../datapath/host.ts';
import { SlotState } from '../datapath/layout.ts';
import { ShardPool } from '../datapath/shard-pool.ts';
import { SessionTable } from '../datapath/table.ts';
import { type Keeper, runEngine } from '../keeper/engine-side.ts';
import type { ClientStart } from '../keeper/protocol.ts';
import type { Addon } from '../native/index.ts';
import { createLog, type Logger } from '../observe/log.ts';
import { serveMetrics } from '../observe/reports.ts';
import { droppedAtDevice, type EngineStatistics, ownUse } from '../observe/statistics.ts';
import { handshakeMtu, type PathMtuConfig, pathMtuConfig } from '../session/path-mtu.ts';
import { CLIENT_DEFAULTS, type ClientConfig as SessionConfig } from '../session/types.ts';
import type { Auth } from '../wire/frames.ts';
import { VERSION_1_3 } from '../wire/header.ts';
import { Contest, type Contestant } from './contest.ts';
import { continued } from './continued.ts';
import { answersNames } from './name-server.ts';
import type { ClientShardTask } from './shard-task.ts';

/** One server with what works for it. */
interface Attempt extends Contestant {
  readonly server: ServerEntry;
  readonly slot: number;
  readonly crypto: Piscina;
  readonly shards: ShardPool<ClientShardTask>;
}

class ClientEngine {
  readonly #addon: Addon;
  readonly #keeper: Keeper;
  readonly #start: ClientStart;
  readonly #config: ClientConfig;
  readonly #log: Logger;
  /** Datagrams of one send at most. */
  readonly #trainSegments: number;
  readonly #sessions: SessionTable;
  /** Shards attach by id; it lives as long as its handle is held. */
  readonly #index: ReturnType<Addon['createIndex']>;
  readonly #contest: Contest;

  constructor(addon: Addon, keeper: Keeper, start: ClientStart) {
    this.#addon = addon;
    this.#keeper = keeper;
    this.#start = start;
    this.#config = start.config;
    this.#log = createLog('client', start.config);
    const { segments, note } = chooseTrain(addon, start.config.trainSegments);
    this.#trainSegments = segments;
    if (note) this.#log.warn(note);
    const { table } = start.descriptors;
    this.#index = addon.createIndex(table.slots);
    this.#sessions = new SessionTable(addon.openTable(table).public, table.slots);
    const { servers, preferredConnectionWaitInterval } = this.#config;
    this.#contest = new Contest(servers.length, preferredConnectionWaitInterval, {
      now: () => addon.monotonicMicros(),
      after: (ms, then) => {
        const timer = setTimeout(then, ms);
        return () => clearTimeout(timer);
      },
      warn: (message) => this.#log.warn(message),
      won: (winner, networkConfig) => {
        this.#log.info(`online with ${winner.name}`);
        const [serverAddress] = start.addresses[winner.place];
        keeper.send({ type: 'clientOnline', networkConfig: { serverAddress, ...networkConfig } });
        void this.#askForNames();
      },
      fatal: (error) => void keeper.fatal(error),
    });
  }

  run(): void {
    this.#keeper.onStop(() => this.#contest.leave('stop'));
    this.#keeper.onYield(() => this.#contest.leave('yield'));
    this.#keeper.onStatistics(() => this.#statistics());
    const { tun, generation } = this.#start;
    const source = async () => ({
      role: 'client' as const,
      tun: tun.name,
      generation,
      statistics: await this.#statistics(),
    });
    void serveMetrics(this.#config.metricsAddress, source, this.#log);
    const { servers } = this.#config;
    const earlier = continued(this.#sessions, servers, this.#start.addresses);
    for (let slot = 0; slot < this.#sessions.usableSlots; slot++)
      if (slot !== earlier?.slot) this.#sessions.fields.state.set(slot, SlotState.free); // of a race that an engine did not survive
    const attempts = earlier
      ? [this.#attempt(earlier.server, earlier.slot)]
      : servers.map((_, place) => this.#attempt(place, place));
    for (const attempt of attempts) {
      if (earlier) this.#contest.goOn(attempt);
      else this.#contest.add(attempt);
      attempt.shards.start();
    }
    this.#keeper.send({ type: 'ready' });
  }

  async #statistics(): Promise<EngineStatistics> {
    const shown = this.#contest.shown as Attempt | undefined; // all are shard 0
    const shards = (await shown?.shards.statistics()) ?? [];
    const tunDropped = await droppedAtDevice(this.#start.tun.name);
    return { ...ownUse(this.#addon.monotonicMicros()), assignedAddresses: null, ages: null, tunDropped, shards };
  }

  /** Where the keeper makes the server's resolver that of the host. */
  async #askForNames(): Promise<void> {
    const { routeMode, dnsConfigMode, tunDnsIp } = this.#config;
    if (routeMode === 'noexec' || dnsConfigMode === 'noexec') return;
    if (await answersNames(tunDnsIp)) return this.#log.info(`the name server inside answers, ${tunDnsIp}`);
    const advice = 'let the server run a resolver, or name one by lightway_dns_ip; or set dns_config_mode: noexec';
    this.#log.warn({ code: 'NAMES_SILENT', advice }, `nobody answers for names inside, at ${tunDnsIp}`);
  }

  #attempt(place: number, slot: number): Attempt {
    const server = this.#config.servers[place];
    const name = `${server.server.host}:${server.server.portNumber}`;
    this.#log.info(`connecting to ${name} over ${server.mode}`);
    const caCert = this.#start.files.caCerts[place];
    const attempt: Attempt = {
      place,
      name,
      server,
      slot,
      crypto: createCryptoPool({ role: 'client', caCert, serverName: server.serverDn }, 1),
      shards: new ShardPool(1, {
        task: (_shard, restarts) => this.#task(attempt, restarts),
        heard: (_shard, report) => this.#heard(attempt, report),
        died: (_shard, error) =>
          this.#log.error({ error: error.message }, 'the shard died; its session goes on in a new one'),
        gaveUp: () => process.exit(70),
      }),
      stop: async (how, over) => {
        await attempt.shards.stop(how);
        await attempt.crypto.destroy();
        if (over) this.#sessions.fields.state.set(slot, SlotState.free);
      },
    };
    return attempt;
  }

  #task({ server, place, slot }: Attempt, restarts: number): ClientShardTask {
    const { descriptors, generation, tun, addresses, files } = this.#start;
    const config = this.#config;
    const address = addresses[place][0];
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
        trainSegments: this.#trainSegments,
        paced: config.paceRate > 0,
        tun: descriptors.tun[0],
        vnetHeader: tun.vnetHeader,
        udp: server.mode === 'udp' ? descriptors.udp[place] : -1,
        doors: [],
        table: descriptors.table,
        index: this.#index.id,
        handover: undefined,
        single: slot,
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
              caCert: files.caCerts[place],
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

  #heard(attempt: Attempt, report: ShardReport): void {
    switch (report.type) {
      case 'ready':
        if (report.note && attempt === this.#contest.shown) this.#log.info(report.note);
        return;
      case 'note':
        return void this.#log.warn(report.text);
      case 'task':
        attempt.crypto.run({ task: report.task }).then(
          (result) => attempt.shards.send(0, { type: 'taskDone', id: report.id, result }),
          (error: Error) =>
            attempt.shards.send(0, {
              type: 'taskDone',
              id: report.id,
              result: { op: 'refused', alert: 80, reason: error.message }, // internal_error, RFC 8446 §6.2
            }),
        );
        return;
      case 'online':
        return this.#contest.online(attempt, report.networkConfig);
      case 'ended':
        return void this.#contest.ended(attempt, report.code, report.reason);
    }
  }
}

/** What is offered, best first. The first ClientHello carries no share: a cookie makes the server answer with a retry anyway. */
function groupsOf(config: ClientConfig): number[] {
  const others = [Group.x25519, Group.secp256r1, Group.secp384r1];
  const hybrids = [Group.x25519MlKem768, Group.secp521r1MlKem1024];
  return [...(config.keyshare === 'p521mlkem1024' ? hybrids.reverse() : hybrids), ...others];
}

await runEngine('client', (addon, keeper, start) => new ClientEngine(addon, keeper, start).run());
