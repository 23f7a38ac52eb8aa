/**
 * Whole shards in one process: real sockets on loopback, a real TUN device where root allows one, real time only as a number that the
 * test hands on. Clients seal and open with node:crypto and @noble, so that they can also say what no honest client would.
 */
import { DEFAULT_GROUPS, Group } from '../../src/crypto/groups.ts';
import { createNativeVault } from '../../src/crypto/native-vault.ts';
import { createReferenceVault } from '../../src/crypto/reference-vault.ts';
import { schemesOf } from '../../src/crypto/schemes.ts';
import { runTask } from '../../src/crypto/tasks.ts';
import { Suite } from '../../src/crypto/vault.ts';
import { encodeAddress } from '../../src/datapath/address.ts';
import type { ShardAead } from '../../src/datapath/backends.ts';
import { type Batch, Flag, HEADER } from '../../src/datapath/batch.ts';
import type { ShardReport } from '../../src/datapath/host.ts';
import { PASS } from '../../src/datapath/pass.ts';
import { Shard, type ShardOptions } from '../../src/datapath/shard.ts';
import { SessionTable } from '../../src/datapath/table.ts';
import { DtlsClient } from '../../src/dtls/client.ts';
import { CookieSecrets } from '../../src/dtls/cookie.ts';
import { DtlsDrop } from '../../src/dtls/events.ts';
import { createMemoryProtection } from '../../src/dtls/memory-protection.ts';
import type { Opened, RecordProtection } from '../../src/dtls/protection.ts';
import type { Addon, HandoverHandle, IndexHandle, PortHandle } from '../../src/native/index.ts';
import { fold, writeU16 } from '../../src/packet/checksum.ts';
import { Protocol, pseudoHeaderSum4, Tcp } from '../../src/packet/ip.ts';
import { Gso } from '../../src/packet/segment.ts';
import { FirstHellos } from '../../src/server/first-hellos.ts';
import { parseIpv4 } from '../../src/server/leases.ts';
import { ServerRole } from '../../src/server/sessions.ts';
import { ClientSession } from '../../src/session/client.ts';
import { ClientIds } from '../../src/session/ids.ts';
import { CLIENT_DEFAULTS, createCounters, type LaneKeys, SERVER_DEFAULTS } from '../../src/session/types.ts';
import { encodeFrame, type Frame } from '../../src/wire/frames.ts';
import { decodeHeader, encodeHeader, HEADER_SIZE, type SessionId, VERSION_1_3 } from '../../src/wire/header.ts';
import { type Micros, MS, SECOND } from '../../src/wire/time.ts';
import { seededBytes } from '../dtls/network.ts';
import {
  addon,
  backends,
  createPool,
  FEWEST_ENTRIES,
  filterRefusal,
  type Io,
  openUdpPort,
  PACKET_BLOCK,
  type Pool,
  run,
} from '../io/rig.ts';
import { bytesOf, concat } from '../packet/packets.ts';
import { clientSide, createMemory, type Memory, serverSide } from '../server/memory-server.ts';
import { openAead, SUITES, sealLane } from './peer.ts';

const SERVER = '127.0.0.1';
/** What every client calls itself inside (protocol specification §9.1), and what the server calls itself. */
export const CLIENT_INSIDE = '10.125.0.5';
/** Where the kernel has it, the filter of replays is below every shard whose datagrams are steered, and has to go unnoticed. */
const FILTERED = filterRefusal() === undefined;
const FIRST_LEASE = '10.125.0.16';
/** Where packets come from and go to behind the server's TUN device. */
export const NET_ADDRESS = parseIpv4('10.126.0.9');
/** How long the kernel is given to bring what was sent over loopback before all is said to be quiet; and where a thread of its own has to take it first. */
const QUIET_US = 1_500;
const SQPOLL_QUIET_US = 5_000;

function entriesOf({ bytes, offset, length, segmentSize, header }: Batch): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (let i = 0; i < header[HEADER.count]; i++) {
    const step = segmentSize[i] || length[i];
    for (let at = 0; at < length[i] || at === 0; at += step || 1)
      found.push(bytes.slice(offset[i] + at, offset[i] + Math.min(at + step, length[i])));
  }
  return found;
}

/** A UDP socket of a client, on an address of its own in 127/8: the steering program goes by addresses. */
export class Socket {
  readonly address: string;
  readonly portNumber: number;
  readonly #descriptor: number;
  readonly #port: PortHandle;
  readonly #trains: Pool;
  readonly #out: Pool;
  #spare: Uint8Array[] = [];

  constructor(address: string) {
    const opened = addon.openUdp({
      address,
      portNumber: 0,
      reusePort: false,
      bufferBytes: 1 << 20,
      gro: true,
      packetInfo: true,
      pmtu: 'omit',
    });
    this.address = address;
    this.portNumber = opened.portNumber;
    this.#descriptor = opened.descriptor;
    const { port, trains } = openUdpPort('epoll', opened);
    this.#port = port;
    this.#trains = trains;
    this.#out = createPool(PACKET_BLOCK, 8, 256);
  }

  send(to: Uint8Array, datagrams: readonly Uint8Array[]): void {
    for (const datagram of datagrams) {
      if (!addon.put(this.#out.handle, -1, 0, to, datagram)) {
        this.#flush();
        addon.put(this.#out.handle, -1, 0, to, datagram);
      }
    }
    this.#flush();
  }

  /** Datagrams of one length, in one train. */
  sendTrain(to: Uint8Array, datagrams: readonly Uint8Array[]): void {
    addon.put(this.#out.handle, -1, 0, to, Buffer.concat(datagrams));
    this.#out.batch.segmentSize[0] = datagrams[0].length;
    this.#flush();
  }

  /** What has come since the last call. */
  receive(): Uint8Array[] {
    const all = this.#spare;
    this.#spare = [];
    while (addon.wait(this.#port, 0) & 1) {
      addon.udpReceive(this.#port, 64);
      all.push(...entriesOf(this.#trains.batch));
      addon.clear(this.#trains.handle);
    }
    return all;
  }

  close(): void {
    addon.closePort(this.#port);
    addon.closeDescriptor(this.#descriptor);
  }

  #flush(): void {
    if (addon.udpTransmit(this.#port, this.#out.handle) > 0) throw new Error('the socket of a client is full');
    addon.clear(this.#out.handle);
  }
}

/** A namespace with the server's TUN device and, behind a kernel that forwards, a second device whose other end the test holds. */
export class Inside {
  readonly descriptors: number[];
  readonly space: string;
  readonly #net: number;
  readonly #port: PortHandle;
  readonly #received: Pool;
  readonly #out: Pool;
  readonly steering: Uint8Array | undefined;
  static #made = 0;

  constructor(queues: number, steered: boolean) {
    const made = Inside.#made++;
    this.space = `rww-${process.pid}-${made}`;
    run('ip', 'netns', 'add', this.space);
    const server = `rww${process.pid % 10_000}s${made}`;
    const net = `rww${process.pid % 10_000}n${made}`;
    const tun = addon.openTun({ name: server, queues, vnetHeader: true });
    const far = addon.openTun({ name: net, queues: 1, vnetHeader: true });
    this.descriptors = tun.descriptors;
    this.#net = far.descriptors[0];
    addon.tunOffload(tun.descriptors[0], true);
    addon.tunOffload(this.#net, true);
    const inSpace = (...args: string[]) => run('ip', 'netns', 'exec', this.space, ...args);
    for (const [device, address] of [
      [server, '10.125.0.1/16'],
      [net, '10.126.0.1/24'],
    ]) {
      run('ip', 'link', 'set', device, 'netns', this.space);
      inSpace('sysctl', '-qw', `net.ipv6.conf.${device}.disable_ipv6=1`);
      inSpace('ip', 'addr', 'add', address, 'dev', device);
      inSpace('ip', 'link', 'set', device, 'up', 'mtu', '1350', 'txqueuelen', '1000');
    }
    inSpace('sysctl', '-qw', 'net.ipv4.ip_forward=1');
    if (steered) this.steering = this.#steer(queues);
    this.#received = createPool(PACKET_BLOCK, 64);
    this.#out = createPool(PACKET_BLOCK, 64);
    this.#port = addon.openPort({
      io: 'epoll',
      tun: this.#net,
      vnetHeader: true,
      udp: -1,
      tunReceive: this.#received.handle,
    });
  }

  #steer(queues: number): Uint8Array {
    try {
      const base = parseIpv4('10.125.0.0');
      const { map } = addon.steerTun(this.descriptors[0], { poolBase: base, poolSize: 256, queues });
      const queueOf = new Uint8Array(addon.attachSteering(map, 256).buffer);
      addon.closeDescriptor(map);
      return queueOf;
    } catch (error) {
      run('ip', 'netns', 'del', this.space); // nobody else will
      throw error;
    }
  }

  /** Packets of the net enter the tunnel. */
  send(packets: readonly Uint8Array[]): void {
    for (const packet of packets) addon.put(this.#out.handle, -1, 0, undefined, packet);
    addon.tunTransmit(this.#port, this.#out.handle);
    addon.clear(this.#out.handle);
  }

  /** One that the kernel takes for the segments of so many bytes that it will be cut into. */
  sendSuperpacket(packet: Uint8Array, segmentSize: number): void {
    const { batch, handle } = this.#out;
    addon.put(handle, -1, Gso.tcp4, undefined, packet);
    batch.segmentSize[0] = segmentSize;
    batch.flags[0] = Flag.needsChecksum;
    batch.checksumStart[0] = 20;
    batch.checksumOffset[0] = Tcp.checksum;
    batch.headerLength[0] = 40;
    const at = batch.offset[0];
    writeU16(
      batch.bytes,
      at + 20 + Tcp.checksum,
      fold(pseudoHeaderSum4(batch.bytes, at, Protocol.tcp, packet.length - 20)),
    );
    addon.tunTransmit(this.#port, handle);
    addon.clear(handle);
  }

  /** Packets of the tunnel that reached the net since the last call; superpackets as they came. */
  receive(): Uint8Array[] {
    const all: Uint8Array[] = [];
    while (addon.wait(this.#port, 0) & 2) {
      addon.tunReceive(this.#port, 64);
      const { bytes, offset, length, header } = this.#received.batch;
      for (let i = 0; i < header[HEADER.count]; i++) all.push(bytes.slice(offset[i], offset[i] + length[i]));
      addon.clear(this.#received.handle);
    }
    return all;
  }

  close(): void {
    addon.closePort(this.#port);
    for (const descriptor of [this.#net, ...this.descriptors]) addon.closeDescriptor(descriptor);
    run('ip', 'netns', 'del', this.space);
  }
}

/** Every kernel interface there is with the native nodes, and one with the reference nodes. */
export function flavours(): [Io, ShardAead][] {
  return [...backends().map((io): [Io, ShardAead] => [io, addon.about().aead[0]]), ['epoll', 'noble']];
}

export interface RigOptions {
  readonly io: Io;
  readonly shards: number;
  /** Kernel steering of datagrams, and of packets where there is a TUN device. */
  readonly steered?: boolean;
  /** Filters on the sockets, and a group that puts aside what suspects send, where the kernel takes them. */
  readonly filtered?: boolean;
  /** Queues of the TUN device: fewer than shards when it was there before. */
  readonly queues?: number;
  /** Of each ring between shards. */
  readonly handoverBytes?: number;
  readonly aead?: ShardAead;
  readonly slots?: number;
  readonly keyUpdateInterval?: Micros;
  readonly expresslane?: boolean;
  /** Node by node, never in one pass. */
  readonly stepwise?: boolean;
  /** Pings are the sessions' own to answer, node by node: what the addon's answers are held against. */
  readonly pingsInSession?: boolean;
  /** The addon may take turns by itself, a millisecond at a time. */
  readonly runs?: boolean;
  readonly sqpoll?: boolean;
  readonly zeroCopy?: boolean;
  readonly trainSegments?: number;
}

/** The shards of a server, its engine's main thread played by the test. */
export class Rig {
  now: Micros = addon.monotonicMicros();
  readonly inside: Inside;
  readonly memory: Memory;
  readonly address: Uint8Array;
  readonly clients: RigClient[] = [];
  shards: Shard[] = [];
  /** The shards' ports, for errors to be injected. */
  readonly handles: PortHandle[] = [];
  /** How passes of the shards ended, by PASS. */
  readonly passes: number[] = Object.values(PASS).map(() => 0);
  /** The clock by which shards measure what strangers cost, where that is not to be left to the machine. */
  clock: (() => Micros) | undefined;
  /** How long datagrams have waited at the sockets, likewise. */
  delay: Micros | undefined;
  /** What shards had to say to the log. */
  readonly notes: string[] = [];
  roles: ServerRole[] = [];
  readonly table: SessionTable;
  readonly #options: RigOptions;
  readonly #sockets: number[];
  readonly #index: { handle: IndexHandle; id: number };
  readonly #handover: { handle: HandoverHandle; id: number } | undefined;
  readonly #filter: { readonly map: number; readonly entries: number; readonly half: number } | undefined;
  readonly #reports: { shard: number; report: ShardReport }[] = [];
  #nextLease = parseIpv4(FIRST_LEASE);
  #generation = 0;

  constructor(options: RigOptions) {
    this.#options = options;
    const { shards, steered = true, filtered = steered && FILTERED } = options;
    const { queues = shards, slots = 64, handoverBytes = 4 << 20 } = options;
    const { sockets, address } = openGroup(shards, steered);
    this.#sockets = sockets;
    const entries = FEWEST_ENTRIES;
    const [own, doors] = [sockets.slice(0, shards), sockets.slice(shards)];
    if (filtered) this.#filter = { ...addon.filterUdp(own, doors, entries), entries, half: 0 };
    this.address = address;
    this.memory = createMemory(slots);
    this.table = new SessionTable(addon.openTable(this.memory).public, slots);
    this.#index = addon.createIndex(slots);
    this.#handover = shards > 1 ? addon.createHandover(shards, handoverBytes) : undefined;
    this.inside = new Inside(queues, steered && queues > 1);
    this.start();
  }

  /** Starts shards; called again, successors of those that are there. The old ones are left as they are: dead. @returns sessions restored */
  start(): number {
    this.#generation++;
    this.shards = [];
    this.roles = [];
    let restored = 0;
    for (let shard = 0; shard < this.#options.shards; shard++) restored += this.#startShard(shard);
    return restored;
  }

  #startShard(shard: number): number {
    const { io, shards, aead = 'openssl', keyUpdateInterval = 900 * SECOND, expresslane = true } = this.#options;
    const { pingsInSession = false, stepwise = pingsInSession } = this.#options;
    const { sqpoll = false, zeroCopy = false, trainSegments = 64 } = this.#options;
    const report = (each: ShardReport) => this.#reports.push({ shard, report: each });
    const options: ShardOptions = {
      shard,
      shards,
      generation: this.#generation,
      io,
      aead,
      gro: 'inline',
      sqpoll,
      zeroCopy,
      trainSegments,
      paced: false,
      stepwise,
      tun: this.inside.descriptors[shard % this.inside.descriptors.length],
      vnetHeader: true,
      udp: this.#sockets[shard],
      doors: this.#sockets.slice(shards).filter((_, i) => i % shards === shard),
      table: this.memory,
      filter: this.#filter,
      index: this.#index.id,
      handover: this.#handover?.id,
      single: undefined,
    };
    const watched: Addon = Object.create(addon, {
      monotonicMicros: { value: () => this.clock?.() ?? addon.monotonicMicros() },
      arrivalDelay: { value: (port: PortHandle) => this.delay ?? addon.arrivalDelay(port) },
      passUplink: { value: this.#passed(addon.passUplink) },
      passDownlink: { value: this.#passed(addon.passDownlink) },
      answerPings: { value: pingsInSession ? () => 0 : addon.answerPings },
      openPort: {
        value: (wishes: Parameters<Addon['openPort']>[0]) => {
          const port = addon.openPort(wishes);
          this.handles[shard] = port;
          return port;
        },
      },
    });
    const made = new Shard(watched, options, report);
    const vault = createNativeVault(addon);
    const terms = {
      suites: [Suite.aes256, Suite.chacha20, Suite.aes128],
      groups: DEFAULT_GROUPS,
      schemes: schemesOf(serverSide.privateKey as never),
    };
    const { lanes } = made.control;
    const role = new ServerRole({
      control: made.control,
      vault,
      random: seededBytes(shard * 1000 + this.#generation),
      shard,
      shards,
      listener: {
        ...terms,
        secrets: new CookieSecrets(vault, seededBytes(1)(32)),
      },
      firstHellos: aead === 'noble' ? undefined : new FirstHellos({ ...terms, addon, lanes, seed: seededBytes(1)(32) }),
      certificateChain: serverSide.certificateChain as never,
      session: { ...SERVER_DEFAULTS, expresslane: { enabled: expresslane, rotationInterval: 900 * SECOND } },
      keyUpdateInterval,
      report,
    });
    made.control.role = role;
    this.shards.push(made);
    this.roles.push(role);
    return role.restore(this.now);
  }

  /** Descriptor of the map that shards and kernel share. */
  get map(): number {
    if (!this.#filter) throw new Error('nothing is filtered');
    return this.#filter.map;
  }

  /** By which shards find sessions. */
  get index(): IndexHandle {
    return this.#index.handle;
  }

  /** A client on 127.0.0.`host`, Online when this returns. */
  connect(host: number, options: ClientOptions = {}): RigClient {
    const client = this.open(host, options);
    this.settle();
    const { state } = client.session;
    if (state !== 'online') throw new Error(`client ${host} is ${state}; ${JSON.stringify(this.counters())}`);
    return client;
  }

  /** A client that has sent its first flight. */
  open(host: number, options: ClientOptions = {}): RigClient {
    const client = new RigClient(this, host, options);
    this.clients.push(client);
    client.flush();
    return client;
  }

  /** Turns every shard and every client until nobody has anything to do. */
  settle(): void {
    this.#untilQuiet(() => {
      this.#answer();
      return this.clients.map((client) => client.take()).includes(true);
    });
  }

  /** Turns the shards alone: what they ask of the engine waits, and so do the clients. */
  turn(): void {
    this.#untilQuiet(() => false);
  }

  /** Single turns, `load` before each, at most so many. @returns whether `done` came true */
  under(load: () => void, done: () => boolean, turns: number): boolean {
    for (let i = 0; i < turns && !done(); i++) {
      load();
      for (const shard of this.shards) shard.turn(this.now, 0);
      this.inside.receive();
      this.#answer();
      for (const client of this.clients) client.take();
    }
    return done();
  }

  #untilQuiet(rest: () => boolean): void {
    const quietUs = this.#options.sqpoll ? SQPOLL_QUIET_US : QUIET_US;
    for (let quiet = 0; quiet < 2; ) {
      let worked = false;
      for (const shard of this.shards) {
        const now = addon.monotonicMicros();
        worked = shard.turn(this.now, quiet === 0 ? 0 : quietUs, now, this.#options.runs ? now + 1 * MS : 0) || worked;
      }
      worked = rest() || worked || this.#waitForDoors();
      quiet = worked ? 0 : quiet + 1;
    }
  }

  /** @returns whether there was a door that nobody looked at */
  #waitForDoors(): boolean {
    const next = Math.min(...this.shards.map(({ doorsOpenAt }) => doorsOpenAt ?? Number.POSITIVE_INFINITY));
    if (next === Number.POSITIVE_INFINITY) return false;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, (next - addon.monotonicMicros()) / 1_000);
    return true;
  }

  /** Lets time pass, in steps short enough for every timer. */
  pass(time: Micros, step: Micros = time): void {
    for (const end = this.now + time; this.now < end; ) {
      this.now = Math.min(end, this.now + step);
      for (const client of this.clients) client.advance();
      this.settle();
    }
  }

  /** Everything that was counted as a drop, or as an answer, by name; zeros left out. */
  counters(): Record<string, number> {
    const sum: Record<string, number> = {};
    const add = (name: string, by: number) => {
      if (by !== 0) sum[name] = (sum[name] ?? 0) + by;
    };
    for (const [i, shard] of this.shards.entries()) {
      const { verdicts, control } = shard.statistics();
      for (const [name, by] of [...Object.entries(verdicts), ...Object.entries(control)]) add(name, by);
      for (const [name, by] of Object.entries(this.roles[i].sessionCounters)) add(`session.${name}`, by);
      for (const [name, by] of Object.entries(this.roles[i].hellosDropped())) add(`hello.${name}`, by);
      for (const [name, number] of Object.entries(DtlsDrop)) add(`dtls.${name}`, this.roles[i].dtlsDrops[number]);
    }
    return sum;
  }

  /** The sum over all shards of a counter of their ports. */
  ports(name: string): number {
    return this.shards.reduce((sum, shard) => sum + shard.statistics().port[name], 0);
  }

  /** What `act` adds to the counters. */
  counted(act: () => void): Record<string, number> {
    const before = this.counters();
    act();
    const after = this.counters();
    const names = Object.keys(after).filter((name) => after[name] !== before[name]);
    return Object.fromEntries(names.map((name) => [name, after[name] - (before[name] ?? 0)]));
  }

  close(): void {
    for (const client of this.clients) client.socket.close();
    for (const shard of this.shards) shard.stop();
    const { public: open, secret } = this.memory;
    const map = this.#filter ? [this.#filter.map] : [];
    for (const descriptor of [...this.#sockets, open, secret, ...map]) addon.closeDescriptor(descriptor);
    this.inside.close();
  }

  #passed(run: Addon['passUplink']): Addon['passUplink'] {
    return (pass, now, limit) => {
      const next = run(pass, now, limit);
      this.passes[next]++;
      return next;
    };
  }

  /** The work of the main thread and of the crypto pool, at once. */
  #answer(): void {
    for (let each = this.#reports.shift(); each; each = this.#reports.shift()) {
      const { control } = this.shards[each.shard];
      const { report } = each;
      if (report.type === 'note') this.notes.push(report.text);
      if (report.type === 'task') control.taskDone(this.now, report.id, runTask(report.task, serverSide));
      if (report.type !== 'authenticate') continue;
      const insideAddress = this.#nextLease++;
      if (this.inside.steering) this.inside.steering[insideAddress & 255] = each.shard;
      const networkConfig = { localIp: CLIENT_INSIDE, peerIp: '10.125.0.6', dnsIp: '10.125.0.1', mtu: 1350 };
      control.authorised(this.now, report.id, { insideAddress, networkConfig, paceRate: 0 }, 'ACCESS_DENIED');
    }
  }
}

/** What a client knows of its server. */
export interface Surroundings {
  readonly now: Micros;
  readonly address: Uint8Array;
  readonly table: SessionTable;
}

export interface ClientOptions {
  readonly expresslane?: boolean;
  readonly groups?: readonly number[];
}

/** Keys of a client's Expresslane, in plain sight. */
/** Sockets of one SO_REUSEPORT group, one a shard; steered, three doors a shard behind them. */
export function openGroup(shards: number, steered: boolean): { sockets: number[]; address: Uint8Array } {
  const open = (portNumber: number) =>
    addon.openUdp({
      address: SERVER,
      portNumber,
      reusePort: true,
      bufferBytes: 4 << 20,
      gro: true,
      packetInfo: true,
      pmtu: 'omit',
    });
  const first = open(0);
  const sockets = [first.descriptor];
  if (steered) addon.steerUdp(first.descriptor, shards, true);
  while (sockets.length < (steered ? 4 * shards : shards)) sockets.push(open(first.portNumber).descriptor);
  return { sockets, address: encodeAddress(SERVER, first.portNumber, '') };
}

class OpenLaneKeys implements LaneKeys {
  #staged = new Uint8Array(32);
  send = new Uint8Array(32);
  receive = new Uint8Array(32);
  previous = new Uint8Array(32);
  active = false;
  ready = false;
  version: 1 | 2 = 2;
  sent = 0;
  received = 0;
  readonly #random: (bytes: number) => Uint8Array;

  constructor(seed: number) {
    this.#random = seededBytes(seed);
  }

  stage(): Uint8Array {
    this.#staged = Uint8Array.from(this.#random(32));
    return this.#staged.slice();
  }

  stageNone(): void {
    this.#staged = new Uint8Array(32);
  }

  staged(): Uint8Array {
    return this.#staged.slice();
  }

  promote(): void {
    this.send = this.#staged;
  }

  installReceive(key: Uint8Array): void {
    this.previous = this.receive;
    this.receive = Uint8Array.from(key);
  }

  receiveKeyIs(key: Uint8Array): boolean {
    return Buffer.compare(this.receive, key) === 0;
  }

  sendValid(): boolean {
    return this.send.some((byte) => byte !== 0);
  }

  receiveValid(): boolean {
    return this.receive.some((byte) => byte !== 0);
  }

  setActive(on: boolean): void {
    this.active = on;
  }

  setReady(on: boolean): void {
    this.ready = on;
  }

  setVersion(version: 1 | 2): void {
    this.version = version;
  }

  packetsSent(): number {
    return this.sent;
  }

  packetsReceived(): number {
    return this.received;
  }
}

/** An honest client of our own DTLS and session code, whose datagrams a test may take, keep, change and send again. */
export class RigClient {
  readonly host: number;
  readonly keys: OpenLaneKeys;
  readonly dtls: DtlsClient;
  readonly session: ClientSession;
  readonly closed: string[] = [];
  /** Inner packets that arrived, and how. */
  readonly packets: { path: 'lane' | 'record'; bytes: Uint8Array }[] = [];
  /** Every record that its DTLS opened. */
  readonly opened: Opened[] = [];
  /** Every datagram that arrived, by the session id in its header. */
  readonly heard: Uint8Array[] = [];
  /** Expresslane packets whose number had been there before. */
  repeated = 0;
  socket: Socket;
  readonly #rig: Surroundings;
  #ids = new ClientIds();
  #out: Uint8Array[] = [];
  readonly #opened = new Set<string>();

  constructor(rig: Surroundings, host: number, { expresslane = true, groups = [Group.x25519] }: ClientOptions = {}) {
    this.#rig = rig;
    this.host = host;
    this.socket = new Socket(`127.0.0.${host}`);
    this.keys = new OpenLaneKeys(host + 500);
    const vault = createReferenceVault();
    this.dtls = new DtlsClient({
      vault,
      random: seededBytes(host),
      protection: this.#watch(createMemoryProtection(vault)),
      suites: [Suite.aes256],
      groups,
      share: undefined,
    });
    const credentials = { method: 'userPass' as const, user: `user${host}`, password: Buffer.from('password') };
    this.session = new ClientSession(
      {
        ...CLIENT_DEFAULTS,
        transport: 'udp',
        credentials,
        counters: createCounters(),
        expresslane: { enabled: expresslane, rotationInterval: 900 * SECOND },
      },
      VERSION_1_3,
      this.keys,
    );
    this.session.start(rig.now);
    this.dtls.start(rig.now);
    this.#pump();
  }

  get id(): SessionId {
    return this.#ids.current;
  }

  /** The slot of its session, found by the id it uses. */
  get slot(): number {
    const { currentId, pendingId } = this.#rig.table.fields;
    const bytes = bytesOf('u64', this.id as never);
    for (let slot = 0; slot < this.#rig.table.slots; slot++)
      if (currentId.equals(slot, bytes) || pendingId.equals(slot, bytes)) return slot;
    return -1;
  }

  /** The address leased to it. */
  get lease(): number {
    return this.#rig.table.insideAddress(this.slot);
  }

  #watch(protection: RecordProtection): RecordProtection {
    const { opened } = this;
    const open: RecordProtection['open'] = (record) => {
      const result = protection.open(record);
      if (typeof result === 'object') opened.push({ ...result, content: result.content.slice() });
      return result;
    };
    return {
      open,
      install: (...args) => protection.install(...args),
      update: (direction) => protection.update(direction),
      seal: (...args) => protection.seal(...args),
      drop: (...args) => protection.drop(...args),
    };
  }

  /** Sends what waits. */
  flush(): void {
    this.send(this.taken());
  }

  /** What waits to be sent: the caller's now. */
  taken(): Uint8Array[] {
    return this.#out.splice(0);
  }

  send(datagrams: readonly Uint8Array[]): void {
    this.socket.send(this.#rig.address, datagrams);
  }

  sendTrain(datagrams: readonly Uint8Array[]): void {
    this.socket.sendTrain(this.#rig.address, datagrams);
  }

  /** Continues from another port of the same host, or of another. */
  move(host = this.host): void {
    this.socket.close();
    this.socket = new Socket(`127.0.0.${host}`);
  }

  /** Receives, and sends the answers. @returns whether anything had come */
  take(): boolean {
    const datagrams = this.socket.receive();
    for (const datagram of datagrams) this.hear(datagram);
    this.flush();
    return datagrams.length > 0;
  }

  advance(): void {
    this.dtls.advance(this.#rig.now);
    this.session.advance(this.#rig.now);
    this.#pump();
    this.flush();
  }

  /** Inner packets that arrived since the last call. */
  inner(): Uint8Array[] {
    return this.packets.splice(0).map(({ bytes }) => bytes);
  }

  ping(): void {
    this.session.announce(this.#rig.now);
    this.#pump();
  }

  updateKeys(requestPeer: boolean): void {
    if (!this.dtls.updateKeys(this.#rig.now, requestPeer)) throw new Error('a key update is under way');
    this.#pump();
  }

  goodbye(): void {
    this.session.close(this.#rig.now, 'LOCAL');
    this.#pump();
  }

  /** A datagram that carries an inner packet as a DTLS record. */
  record(packet: Uint8Array): Uint8Array {
    const before = this.taken();
    this.dtls.send(this.#rig.now, encodeFrame({ kind: 'data', packet }));
    this.#pump();
    const [datagram] = this.taken();
    this.#out.push(...before);
    return datagram;
  }

  /** Sends a frame that no session made. */
  say(frame: Frame): void {
    this.content(encodeFrame(frame));
  }

  /** Sends any bytes as the content of a record. */
  content(bytes: Uint8Array): void {
    this.dtls.send(this.#rig.now, bytes);
    this.#pump();
    this.flush();
  }

  /** A datagram that carries an inner packet by the Expresslane. */
  lane(
    packet: Uint8Array,
    { key = this.keys.send, counter = ++this.keys.sent, id = this.id, flags = 0 } = {},
  ): Uint8Array {
    const bytes = bytesOf('u64', id as never);
    const { version } = this.keys;
    const iv = concat(Uint8Array.of(7, 7, 7, 7), bytesOf('u64', counter as never));
    const sealed = sealLane({ id: bytes, key, counter: BigInt(counter), iv, flags, version, packet });
    return concat(encodeHeader({ version: VERSION_1_3, aggressive: false, expresslane: true, sessionId: id }), sealed);
  }

  /** What is behind a datagram that arrived; answers wait until the next `flush`. */
  hear(datagram: Uint8Array): void {
    this.heard.push(datagram);
    const { sessionId, expresslane } = decodeHeader(datagram);
    if (expresslane) this.#openLane(datagram);
    else this.dtls.receive(this.#rig.now, datagram.slice(HEADER_SIZE));
    this.#pump();
    if (this.session.state === 'online') this.#ids.onDecoded(sessionId);
  }

  #openLane(datagram: Uint8Array): void {
    const at = HEADER_SIZE;
    const aad = concat(datagram.slice(8, 24), datagram.slice(at + 38, at + 40));
    const sealed = concat(datagram.slice(at + 40), datagram.slice(at + 20, at + 36));
    const nonce = datagram.slice(at + 8, at + 20);
    const number = nonce.join('.');
    if (this.#opened.has(number)) {
      this.repeated++;
      return;
    }
    this.#opened.add(number);
    for (const key of [this.keys.receive, this.keys.previous]) {
      try {
        this.packets.push({ path: 'lane', bytes: openAead(SUITES.aes256, key, nonce, aad, sealed) });
        this.keys.received++;
        return;
      } catch {
        // the other key, then
      }
    }
    throw new Error('an Expresslane packet that no key opens');
  }

  #pump(): void {
    const { now } = this.#rig;
    for (let busy = true; busy; ) {
      busy = false;
      for (const output of this.dtls.drain()) {
        busy = true;
        if (output.kind === 'task') this.dtls.complete(now, output.id, runTask(output.task, clientSide));
        if (output.kind === 'datagram') this.#out.push(concat(this.#header(), output.bytes));
        if (output.kind === 'established') this.session.linkUp(now);
        if (output.kind === 'data') this.session.receive(now, output.content);
        if (output.kind === 'closed') this.closed.push(output.code);
      }
      for (const output of this.session.drain()) {
        busy = true;
        if (output.kind === 'frame') this.dtls.send(now, output.bytes);
        if (output.kind === 'packet') this.packets.push({ path: 'record', bytes: output.bytes.slice() });
        if (output.kind === 'closed') this.closed.push(output.code);
      }
    }
  }

  #header(): Uint8Array {
    return encodeHeader({ version: VERSION_1_3, aggressive: false, expresslane: false, sessionId: this.id });
  }
}

/** A payload that begins with its number. */
export function numbered(number: number, size = 64): Uint8Array {
  const payload = new Uint8Array(size);
  new DataView(payload.buffer).setUint32(0, number);
  return payload;
}
