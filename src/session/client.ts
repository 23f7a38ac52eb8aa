// The client's side of a session (protocol specification §4.1, §5.2 and §5.4): it logs in, keeps the session alive, and notices when
// the server is gone.

import { isIP } from 'node:net';

import { type AuthSuccess, encodeFrame, type Frame } from '../wire/frames.ts';
import type { Version } from '../wire/header.ts';
import { type Micros, MS } from '../wire/time.ts';
import { Keepalive } from './keepalive.ts';
import { Session } from './session.ts';
import { beginSnapshot, openSnapshot, putLane, SnapshotRole, takeLane } from './snapshot.ts';
import type { ClientConfig, LaneKeys, NetworkConfig } from './types.ts';

const NEVER = Number.POSITIVE_INFINITY;
const FIRST_TICK = 100 * MS; // 100, 200 ... 6,400 ms, and on at the last (§2.9)
const LAST_TICK = 6_400 * MS;
const COPIES = 3; // of each datagram until Online (§1.6)
const MAX_MTU = 0xffff;

export class ClientSession extends Session {
  readonly #config: ClientConfig;
  readonly #keepalive = new Keepalive();
  #tick: Micros = FIRST_TICK;
  #tickDeadline: Micros = NEVER;
  #loginDeadline: Micros = NEVER;

  /** @param keys undefined over TCP */
  constructor(config: ClientConfig, version: Version, keys: LaneKeys | undefined) {
    super(config, version, keys, 'client');
    this.#config = config;
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
  }

  protected deadlineRole(): Micros {
    if (this.state === 'authenticating') return Math.min(this.#tickDeadline, this.#loginDeadline);
    return this.state === 'online' ? this.#keepalive.deadline : NEVER;
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
