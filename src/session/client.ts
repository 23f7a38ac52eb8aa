// The client's side of a session (protocol specification §4.1, §5.2 and §5.4): it logs in, keeps the session alive, and notices when
// the server is gone.

import { isIP } from 'node:net';

import { type AuthSuccess, encodeFrame, type Frame } from '../wire/frames.ts';
import type { Version } from '../wire/header.ts';
import { type Micros, MS } from '../wire/time.ts';
import { Keepalive } from './keepalive.ts';
import { PathMtu, type Probe } from './path-mtu.ts';
import { Session } from './session.ts';
import { beginSnapshot, openSnapshot, putLane, SnapshotRole, takeLane } from './snapshot.ts';
import type { ClientConfig, LaneKeys, NetworkConfig } from './types.ts';

const NEVER = Number.POSITIVE_INFINITY;
const FIRST_TICK = 100 * MS; // 100, 200 ... 6,400 ms, and on at the last (§2.9)
const LAST_TICK = 6_400 * MS;
const COPIES = 3; // of each datagram until Online (§1.6)
const MAX_MTU = 0xffff;
const ECHO_HEADER = 5; // kind, id and length of a Ping
const FRAGMENT_HEADER = 7; // kind, length, id and offset of a DataFrag
/** What an Expresslane packet has more than a Data frame in its record: 56 bytes around the packet against 41, and the frame's own 3 (§8.2). */
const LANE_EXCESS = 18;

export class ClientSession extends Session {
  readonly #config: ClientConfig;
  readonly #keepalive = new Keepalive();
  #tick: Micros = FIRST_TICK;
  #tickDeadline: Micros = NEVER;
  #loginDeadline: Micros = NEVER;
  /** Where the transport and the configuration have it (§8.4). */
  readonly #pathMtu: PathMtu | undefined;
  #estimate = 0;
  #fragmentId = 0;

  /** @param keys undefined over TCP */
  constructor(config: ClientConfig, version: Version, keys: LaneKeys | undefined) {
    super(config, version, keys, 'client');
    this.#config = config;
    if (config.transport === 'udp' && config.pathMtu) this.#pathMtu = new PathMtu(config.pathMtu);
  }

  get repeat(): number {
    return this.transport === 'udp' && this.state !== 'online' ? COPIES : 1;
  }

  start(_now: Micros): void {}

  linkUp(now: Micros): void {
    if (this.state !== 'connecting') return;
    this.state = 'authenticating';
    this.#loginDeadline = now + this.#config.loginWait;
    if (this.transport === 'udp') this.#tickDeadline = now + this.#tick;
    this.#login();
  }

  received(now: Micros): void {
    if (this.state === 'online' && this.#keepalive.received(now, this.#config.keepalive)) this.changed = true;
  }

  override insideActivity(now: Micros): void {
    super.insideActivity(now);
    if (this.state === 'online' && this.#keepalive.trace(now, this.#config.keepalive)) this.ping();
  }

  /** The machine has moved to another network: find out at once whether the server still hears us. A TCP session cannot move. */
  networkChanged(now: Micros): void {
    if (this.state !== 'online') return;
    if (this.transport === 'tcp') {
      this.close(now, 'NETWORK_CHANGED');
      return;
    }
    this.#keepalive.demanded(now, this.#config.keepalive);
    this.ping();
    this.#search(this.#pathMtu?.start(now)); // another path
  }

  /** Sends an inner packet that is longer than the path carries, in pieces (§3.4), always as DTLS records. */
  sendLong(packet: Uint8Array): void {
    if (this.state !== 'online') return;
    if (this.#estimate === 0) {
      this.sendFrame(encodeFrame({ kind: 'data', packet }), false); // nothing is known: as it is
      return;
    }
    const most = (this.#estimate - FRAGMENT_HEADER) & ~7;
    this.#fragmentId = (this.#fragmentId + 1) & 0xffff;
    for (let offset = 0; offset < packet.length; offset += most) {
      const more = offset + most < packet.length;
      const piece = packet.subarray(offset, offset + most);
      this.sendFrame(encodeFrame({ kind: 'dataFrag', id: this.#fragmentId, offset, more, piece }), false);
    }
  }

  snapshot(into: Uint8Array): void {
    if (this.state !== 'online') throw new RangeError('only an Online session has a snapshot');
    const cursor = beginSnapshot(into, SnapshotRole.client, this.version.minor);
    const keepalive = this.#keepalive;
    cursor.putByte(keepalive.state).putNumber(keepalive.pingDeadline).putNumber(keepalive.timeoutDeadline);
    cursor.putNumber(keepalive.lastReceived).putNumber(keepalive.tracedReceived);
    if (this.lane !== undefined) putLane(cursor, this.lane);
    this.changed = false;
  }

  /** As `ServerSession.restore`. */
  static restore(
    config: ClientConfig,
    version: Version,
    keys: LaneKeys | undefined,
    from: Uint8Array,
  ): ClientSession | undefined {
    const cursor = openSnapshot(from, SnapshotRole.client, version.minor);
    if (cursor === undefined) return undefined;
    const session = new ClientSession(config, version, keys);
    const keepalive = session.#keepalive;
    keepalive.state = cursor.byte();
    keepalive.pingDeadline = cursor.number();
    keepalive.timeoutDeadline = cursor.number();
    keepalive.lastReceived = cursor.number();
    keepalive.tracedReceived = cursor.number();
    session.becomeOnline();
    session.#pathMtu?.resume();
    if (session.lane !== undefined) takeLane(cursor, session.lane);
    return session;
  }

  protected takeRole(now: Micros, frame: Frame): void {
    switch (frame.kind) {
      case 'authSuccess':
        this.#takeAuthSuccess(now, frame);
        return;
      case 'authFailure':
        this.close(now, 'UNAUTHORIZED');
        return;
      case 'serverConfig':
        this.counters.serverConfig++;
        return;
      case 'encodingResponse':
        this.refuse(now, 'noCodec', 'NO_CODEC');
        return;
      case 'authRequest':
        this.refuse(now, 'wrongRole', 'WRONG_ROLE');
        return;
      default:
        this.ignore(now, 'wrongRole', 'WRONG_ROLE');
        return;
    }
  }

  protected ponged(now: Micros): void {
    this.#keepalive.pong(now, this.#config.keepalive);
  }

  protected probed(now: Micros, id: number): void {
    if (this.#pathMtu === undefined) this.counters.lateProbe++;
    else this.#search(this.#pathMtu.pong(now, id));
  }

  protected advanceRole(now: Micros): void {
    if (this.state === 'authenticating') {
      if (now >= this.#loginDeadline) {
        this.close(now, 'LOGIN_TIMEOUT');
        return;
      }
      if (now < this.#tickDeadline) return;
      this.#tick = Math.min(2 * this.#tick, LAST_TICK);
      this.#tickDeadline = now + this.#tick;
      this.#login();
      return;
    }
    if (this.state !== 'online') return;
    const due = this.#keepalive.advance(now, this.#config.keepalive);
    if (due === 'ping') this.ping();
    else if (due === 'timeout') this.close(now, 'KEEPALIVE_TIMEOUT');
    if (this.state === 'online') this.#search(this.#pathMtu?.advance(now));
  }

  protected deadlineRole(): Micros {
    if (this.state === 'authenticating') return Math.min(this.#tickDeadline, this.#loginDeadline);
    if (this.state !== 'online') return NEVER;
    return Math.min(this.#keepalive.deadline, this.#pathMtu?.deadline ?? NEVER);
  }

  /** Sends the probe, if there is one, and tells what is known by now. */
  #search(probe: Probe | undefined): void {
    if (this.#pathMtu === undefined) return;
    if (probe !== undefined) {
      const payload = new Uint8Array(probe.size - ECHO_HEADER);
      this.push({ kind: 'probe', bytes: encodeFrame({ kind: 'ping', id: probe.id, payload }) });
    }
    const { estimate } = this.#pathMtu;
    if (estimate === this.#estimate) return;
    this.#estimate = estimate;
    this.push({ kind: 'pathMtu', packet: estimate === 0 ? 0 : estimate - LANE_EXCESS });
  }

  #login(): void {
    this.sendFrame(encodeFrame({ kind: 'authRequest', auth: this.#config.credentials }), true);
  }

  #takeAuthSuccess(now: Micros, frame: AuthSuccess): void {
    if (this.state === 'online') {
      this.counters.lateAuthSuccess++; // the answer to a repeated AuthRequest
      return;
    }
    if (this.state !== 'authenticating') {
      this.ignore(now, 'invalidState', 'INVALID_STATE');
      return;
    }
    const networkConfig = parseNetworkConfig(frame);
    if (networkConfig === undefined) {
      this.refuse(now, 'badFrame', 'BAD_NETWORK_CONFIG');
      return;
    }
    this.becomeOnline();
    this.#tickDeadline = NEVER;
    this.#loginDeadline = NEVER;
    this.#keepalive.online(now, this.#config.keepalive);
    this.push({ kind: 'online', networkConfig });
    this.#search(this.#pathMtu?.start(now));
    this.lane?.rotate(now, this);
  }
}

/** @returns undefined unless there are three addresses and an MTU, as text (§3.6) */
function parseNetworkConfig(frame: AuthSuccess): NetworkConfig | undefined {
  const { localIp, peerIp, dnsIp } = frame;
  const mtu = /^\d{1,5}$/.test(frame.mtu) ? Number(frame.mtu) : 0;
  const isSound = isIP(localIp) !== 0 && isIP(peerIp) !== 0 && isIP(dnsIp) !== 0 && mtu > 0 && mtu <= MAX_MTU;
  return isSound ? { localIp, peerIp, dnsIp, mtu } : undefined;
}
