/**
 * A server's control path without a network: the real role, sessions, slots and addon, and clients in the same process. Datagrams
 * go by hand, so a test decides what is lost; time is handed in.
 */

import { createPrivateKey } from 'node:crypto';
import { DEFAULT_GROUPS, Group } from '../../src/crypto/groups.ts';
import { createNativeVault } from '../../src/crypto/native-vault.ts';
import { createReferenceVault } from '../../src/crypto/reference-vault.ts';
import { schemesOf } from '../../src/crypto/schemes.ts';
import { type Credentials, type CryptoTask, runTask, type TaskResult } from '../../src/crypto/tasks.ts';
import { Suite, type Vault } from '../../src/crypto/vault.ts';
import { encodeAddress } from '../../src/datapath/address.ts';
import { ADDRESS, HEADER } from '../../src/datapath/batch.ts';
import { type Batches, createBatches, nativeBatch } from '../../src/datapath/batches.ts';
import { Control } from '../../src/datapath/control.ts';
import type { Grant, ShardReport } from '../../src/datapath/host.ts';
import { PUBLIC_SLOT_BYTES, SECRET_SLOT_BYTES } from '../../src/datapath/layout.ts';
import { SessionTable, SlotPool } from '../../src/datapath/table.ts';
import { UdpPeer } from '../../src/datapath/udp-peer.ts';
import { DtlsClient } from '../../src/dtls/client.ts';
import { CookieSecrets } from '../../src/dtls/cookie.ts';
import { createMemoryProtection } from '../../src/dtls/memory-protection.ts';
import { isClientHello } from '../../src/dtls/records.ts';
import { loadAddon } from '../../src/native/index.ts';
import { parseIpv4 } from '../../src/server/leases.ts';
import { ServerRole } from '../../src/server/sessions.ts';
import { ClientSession } from '../../src/session/client.ts';
import { CLIENT_DEFAULTS, createCounters, type LaneKeys, SERVER_DEFAULTS } from '../../src/session/types.ts';
import type { Auth } from '../../src/wire/frames.ts';
import { decodeHeader, encodeHeader, HEADER_SIZE, type SessionId, VERSION_1_3 } from '../../src/wire/header.ts';
import type { Micros } from '../../src/wire/time.ts';
import { issue, TODAY } from '../crypto/authority.ts';
import { seededBytes } from '../dtls/network.ts';

const SERVER_ADDRESS = '192.0.2.1';

export interface Memory {
  readonly public: number;
  readonly secret: number;
  readonly slots: number;
}

export function createMemory(slots: number): Memory {
  const addon = loadAddon();
  return {
    public: addon.createMemfd('test-public', slots * PUBLIC_SLOT_BYTES),
    secret: addon.createMemfd('test-secret', slots * SECRET_SLOT_BYTES),
    slots,
  };
}

interface Authority {
  readonly root: string;
  readonly leaf: string;
  readonly key: string;
}

function createAuthority(): Authority {
  const root = issue({ name: 'root', ca: true });
  const leaf = issue({ name: 'vpn.example', issuer: root, dnsNames: ['vpn.example'] });
  const key = leaf.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
  return { root: Buffer.from(root.der).toString('base64'), leaf: Buffer.from(leaf.der).toString('base64'), key };
}

/** Certificates of this run; a process that this one starts finds the same in its environment. */
const authority: Authority = process.env.RINGWAY_TEST_AUTHORITY
  ? (JSON.parse(process.env.RINGWAY_TEST_AUTHORITY) as Authority)
  : createAuthority();
process.env.RINGWAY_TEST_AUTHORITY = JSON.stringify(authority);
const root = { der: new Uint8Array(Buffer.from(authority.root, 'base64')) };
const leaf = { der: new Uint8Array(Buffer.from(authority.leaf, 'base64')) };
const privateKey = createPrivateKey(authority.key);
export const serverSide: Credentials = { certificateChain: [leaf.der], privateKey };
export const clientSide: Credentials = { trustAnchors: [root.der], serverName: 'vpn.example', now: () => TODAY };

/** Public-key work with the server's key. */
export const runServerTask = (task: CryptoTask): TaskResult => runTask(task, serverSide);

export const serverPem = {
  cert: `-----BEGIN CERTIFICATE-----\n${Buffer.from(leaf.der).toString('base64')}\n-----END CERTIFICATE-----\n`,
  key: authority.key,
};

export interface Sent {
  readonly address: Uint8Array;
  readonly datagram: Uint8Array;
}

export class MemoryServer {
  readonly control: Control;
  readonly role: ServerRole;
  readonly reports: ShardReport[] = [];
  readonly #batches: Batches;
  readonly #addon = loadAddon();
  /** Takes public-key work elsewhere; answer with `control.taskDone`. */
  onTask: ((id: number, task: CryptoTask) => void) | undefined;
  #nextAddress = parseIpv4('10.125.0.2');

  constructor(memory: Memory, generation: number, seed: number, batches: Batches = createBatches(loadAddon())) {
    const addon = this.#addon;
    this.#batches = batches;
    const mapping = addon.openTable(memory);
    const table = new SessionTable(mapping.public, memory.slots);
    const index = addon.createIndex(memory.slots).handle;
    const lanes = addon.createLanes({ table: mapping.handle, index, shard: 0, shards: 1, generation, aead: 'openssl' });
    this.control = new Control({
      addon,
      lanes: lanes.handle,
      limits: lanes.limits,
      index,
      table,
      pool: new SlotPool(table, 0, 1),
      batches,
      report: (report) => this.reports.push(report),
      generation,
      doors: false,
    });
    const vault = createNativeVault(addon);
    this.role = new ServerRole({
      control: this.control,
      vault,
      random: seededBytes(seed),
      shard: 0,
      shards: 1,
      listener: {
        secrets: new CookieSecrets(vault, seededBytes(seed + 1)(32)),
        suites: [Suite.aes256],
        groups: DEFAULT_GROUPS,
        schemes: schemesOf(privateKey),
      },
      certificateChain: [leaf.der],
      session: { ...SERVER_DEFAULTS, expresslane: { enabled: true, rotationInterval: 900_000_000 } },
      keyUpdateInterval: 900_000_000,
      report: (report) => this.reports.push(report),
    });
    this.control.role = this.role;
  }

  /** A datagram of a client, as the bulk nodes hand it to session.control when they leave it alone. */
  receive(now: Micros, from: string, portNumber: number, datagram: Uint8Array): void {
    const address = encodeAddress(from, portNumber, SERVER_ADDRESS);
    const slot = this.#addon.indexGet(this.control.index, 'outside', address.subarray(0, ADDRESS.key));
    const payload = datagram.slice(HEADER_SIZE);
    const peer = this.control.peers.get(slot);
    const stranger = { payload, header: datagram.slice(0, HEADER_SIZE), address };
    if (slot < 0) this.role.stranger(now, stranger);
    else if (peer instanceof UdpPeer && isClientHello(payload)) this.role.helloAgain(now, peer, stranger);
    else if (peer instanceof UdpPeer) peer.receive(now, payload);
    this.answer(now);
  }

  /** Does the work of the main thread, and at once that of the crypto pool, unless somebody else has taken that over. */
  answer(now: Micros): void {
    for (let report = this.reports.shift(); report; report = this.reports.shift()) {
      if (report.type === 'task') {
        if (this.onTask) this.onTask(report.id, report.task);
        else this.control.taskDone(now, report.id, runServerTask(report.task));
      }
      if (report.type !== 'authenticate') continue;
      const { auth } = report;
      const granted = auth.method === 'userPass' && Buffer.from(auth.password).toString() === 'password';
      const networkConfig = { localIp: '10.125.0.5', peerIp: '10.125.0.6', dnsIp: '10.125.0.1', mtu: 1350 };
      const grant: Grant | undefined = granted
        ? { insideAddress: this.#nextAddress++, networkConfig, paceRate: 0 }
        : undefined;
      this.control.authorised(now, report.id, grant, 'ACCESS_DENIED');
    }
  }

  /** What it has sent since the last call. */
  sent(): Sent[] {
    const { trainsOut } = this.#batches;
    const all: Sent[] = [];
    while (this.control.hasOutput) {
      this.control.fill();
      const count = trainsOut.header[HEADER.count];
      for (let i = 0; i < count; i++) {
        const at = trainsOut.offset[i];
        all.push({
          address: trainsOut.address.slice(i * ADDRESS.size, (i + 1) * ADDRESS.size),
          datagram: trainsOut.bytes.slice(at, at + trainsOut.length[i]),
        });
      }
      this.#addon.clear(nativeBatch(trainsOut));
    }
    return all;
  }
}

/** Keys of a client that nobody encrypts packets with. */
function idleKeys(): LaneKeys {
  let staged = new Uint8Array(32);
  let sending = new Uint8Array(32);
  let receiving = new Uint8Array(32);
  const random = seededBytes(4711);
  const valid = (key: Uint8Array) => key.some((byte) => byte !== 0);
  return {
    stage: () => {
      staged = Uint8Array.from(random(32));
      return staged.slice();
    },
    stageNone: () => {
      staged = new Uint8Array(32);
    },
    staged: () => staged.slice(),
    promote: () => {
      sending = staged;
    },
    installReceive: (key) => {
      receiving = Uint8Array.from(key);
    },
    receiveKeyIs: (key) => Buffer.compare(receiving, key) === 0,
    sendValid: () => valid(sending),
    receiveValid: () => valid(receiving),
    setActive: () => {},
    setReady: () => {},
    setVersion: () => {},
    packetsSent: () => 0,
    packetsReceived: () => 0,
  };
}

export class MemoryClient {
  readonly dtls: DtlsClient;
  readonly session: ClientSession;
  readonly closed: string[] = [];
  id: SessionId = 0n;
  readonly #out: Uint8Array[] = [];

  readonly #credentials: Credentials;

  constructor(
    now: Micros,
    seed: number,
    password = 'password',
    vault: Vault = createReferenceVault(),
    credentials: Credentials = clientSide,
    user = `user${seed}`,
    token?: string,
  ) {
    this.#credentials = credentials;
    this.dtls = new DtlsClient({
      vault,
      random: seededBytes(seed),
      protection: createMemoryProtection(vault),
      suites: [Suite.aes256],
      groups: [Group.x25519],
      share: undefined,
    });
    const login: Auth =
      token === undefined
        ? { method: 'userPass', user, password: Buffer.from(password) }
        : { method: 'versionedToken', version: VERSION_1_3, token };
    const config = { ...CLIENT_DEFAULTS, transport: 'udp' as const, credentials: login, counters: createCounters() };
    const expresslane = { enabled: true, rotationInterval: 900_000_000 };
    this.session = new ClientSession({ ...config, expresslane }, VERSION_1_3, idleKeys());
    this.session.start(now);
    this.dtls.start(now);
    this.pump(now);
  }

  receive(now: Micros, datagram: Uint8Array): void {
    const { sessionId } = decodeHeader(datagram);
    if (this.session.state === 'online') this.id = sessionId;
    this.dtls.receive(now, datagram.slice(HEADER_SIZE));
    this.pump(now);
  }

  pump(now: Micros): void {
    for (let busy = true; busy; ) {
      busy = false;
      for (const output of this.dtls.drain()) {
        busy = true;
        if (output.kind === 'task') this.dtls.complete(now, output.id, runTask(output.task, this.#credentials));
        if (output.kind === 'datagram') this.#out.push(output.bytes);
        if (output.kind === 'established') this.session.linkUp(now);
        if (output.kind === 'data') this.session.receive(now, output.content);
        if (output.kind === 'closed') this.closed.push(output.code);
      }
      for (const output of this.session.drain()) {
        busy = true;
        if (output.kind === 'frame') this.dtls.send(now, output.bytes);
        if (output.kind === 'closed') this.closed.push(output.code);
      }
    }
  }

  /** What it has sent since the last call. */
  sent(): Uint8Array[] {
    const header = encodeHeader({ version: VERSION_1_3, aggressive: false, expresslane: false, sessionId: this.id });
    return this.#out.splice(0).map((bytes) => new Uint8Array(Buffer.concat([header, bytes])));
  }
}

/** Lets both talk until neither has anything to say. */
export function settle(
  now: Micros,
  server: MemoryServer,
  client: MemoryClient,
  from: string,
  portNumber: number,
): void {
  for (let busy = true; busy; ) {
    const up = client.sent();
    for (const datagram of up) server.receive(now, from, portNumber, datagram);
    const down = server.sent();
    for (const { datagram } of down) client.receive(now, datagram);
    busy = up.length + down.length > 0;
  }
}
