// The server's side of a session (protocol specification §4.2 and §5.3): it waits for a login, has it checked, and answers.

import { type Auth, encodeFrame, type Frame } from '../wire/frames.ts';
import type { SessionId, Version } from '../wire/header.ts';
import type { Micros } from '../wire/time.ts';
import { Session } from './session.ts';
import { beginSnapshot, openSnapshot, putLane, SnapshotRole, takeLane } from './snapshot.ts';
import type { Decision, LaneKeys, NetworkConfig, ServerConfig } from './types.ts';

const NEVER = Number.POSITIVE_INFINITY;
const ACTIVITY_GRAIN = 128; // a snapshot's idle time may lag by this part of `idleAge`

export class ServerSession extends Session {
  readonly #config: ServerConfig;
  #staleDeadline: Micros = NEVER;
  #loginDeadline: Micros = NEVER;
  /** An `authenticate` waits for its `authorise`. */
  #checking = false;
  #lastReceived: Micros = 0;
  #savedReceived: Micros = 0;
  #networkConfig: NetworkConfig | undefined;
  #sessionId: SessionId = 0n;

  /**
   * @param config shared by all sessions of a shard
   * @param version of the first datagram (§1.3); 1.1 over TCP
   * @param keys undefined over TCP
   */
  constructor(config: ServerConfig, version: Version, keys: LaneKeys | undefined) {
    super(config, version, keys, 'server');
    this.#config = config;
  }

  get repeat(): number {
    return 1; // a server never repeats itself
  }

  start(now: Micros): void {
    this.#staleDeadline = now + this.#config.staleAge;
  }

  linkUp(now: Micros): void {
    if (this.state !== 'connecting') return;
    this.state = 'linkUp';
    this.#loginDeadline = now + this.#config.loginWait;
  }

  /** Answers the latest `authenticate`. Too late an answer, for a session closed meanwhile, changes nothing. */
  authorise(now: Micros, decision: Decision): void {
    if (this.state !== 'linkUp' || !this.#checking) return;
    this.#checking = false;
    if (!decision.granted) {
      this.sendFrame(encodeFrame({ kind: 'authFailure' }), false);
      this.close(now, decision.code);
      return;
    }
    this.#networkConfig = decision.networkConfig;
    this.#sessionId = decision.sessionId;
    this.#lastReceived = now;
    this.#staleDeadline = NEVER;
    this.#loginDeadline = NEVER;
    this.becomeOnline();
    this.#welcome();
    this.push({ kind: 'online', networkConfig: undefined });
  }

  received(now: Micros): void {
    if (now <= this.#lastReceived) return; // the bulk path reports late what was heard before a frame
    this.#lastReceived = now;
    if (now - this.#savedReceived > this.#config.idleAge / ACTIVITY_GRAIN) this.changed = true;
  }

  snapshot(into: Uint8Array): void {
    const network = this.#networkConfig;
    if (this.state !== 'online' || network === undefined) throw new RangeError('only an Online session has a snapshot');
    const cursor = beginSnapshot(into, SnapshotRole.server, this.version.minor);
    cursor.putNumber(this.#lastReceived).putBig(this.#sessionId);
    cursor.putText(network.localIp).putText(network.peerIp).putText(network.dnsIp).putNumber(network.mtu);
    if (this.lane !== undefined) putLane(cursor, this.lane);
    this.#savedReceived = this.#lastReceived;
    this.changed = false;
  }

  /**
   * Continues from a snapshot, with the keys of the same slot, and tells those whether they are in use.
   * @returns undefined if these bytes are no snapshot of a server session of this version
   */
  static restore(
    config: ServerConfig,
    version: Version,
    keys: LaneKeys | undefined,
    from: Uint8Array,
  ): ServerSession | undefined {
    const cursor = openSnapshot(from, SnapshotRole.server, version.minor);
    if (cursor === undefined) return undefined;
    const session = new ServerSession(config, version, keys);
    session.#lastReceived = cursor.number();
    session.#savedReceived = session.#lastReceived;
    session.#sessionId = cursor.big();
    const localIp = cursor.text();
    const peerIp = cursor.text();
    const dnsIp = cursor.text();
    session.#networkConfig = { localIp, peerIp, dnsIp, mtu: cursor.number() };
    session.becomeOnline();
    if (session.lane !== undefined) takeLane(cursor, session.lane);
    return session;
  }

  protected takeRole(now: Micros, frame: Frame): void {
    switch (frame.kind) {
      case 'authRequest':
        if (this.state !== 'linkUp' || this.#checking) forget(frame.auth);
        if (this.state === 'online') {
          this.#welcome(); // our answer was lost (§4.2); the login stands
          return;
        }
        if (this.state !== 'linkUp') {
          this.ignore(now, 'invalidState', 'INVALID_STATE');
          return;
        }
        if (this.#checking) {
          this.counters.authUnderWay++;
          return;
        }
        this.#checking = true;
        this.push({ kind: 'authenticate', auth: frame.auth });
        return;
      case 'authSuccess':
      case 'authFailure':
        this.refuse(now, 'wrongRole', 'WRONG_ROLE');
        return;
      case 'encodingRequest':
      case 'encodingResponse':
        this.counters.noCodec++; // without a codec a server keeps silent (§3.7)
        return;
      default:
        this.ignore(now, 'wrongRole', 'WRONG_ROLE');
        return;
    }
  }

  protected ponged(): void {}

  protected advanceRole(now: Micros): void {
    if (this.state === 'online') {
      if (now >= this.#lastReceived + this.#config.idleAge) this.close(now, 'IDLE');
    } else if (now >= this.#staleDeadline) {
      this.close(now, 'STALE');
    } else if (now >= this.#loginDeadline && !this.#checking) {
      this.close(now, 'LOGIN_TIMEOUT');
    }
  }

  protected probed(): void {
    this.counters.lateProbe++; // servers probe nothing
  }

  protected deadlineRole(): Micros {
    if (this.state === 'online') return this.#lastReceived + this.#config.idleAge;
    return this.#checking ? this.#staleDeadline : Math.min(this.#staleDeadline, this.#loginDeadline);
  }

  #welcome(): void {
    const { localIp, peerIp, dnsIp, mtu } = this.#networkConfig as NetworkConfig;
    const sessionId = this.#sessionId;
    this.sendFrame(encodeFrame({ kind: 'authSuccess', localIp, peerIp, dnsIp, mtu: String(mtu), sessionId }), false);
  }
}

/** Zeroes a password that nobody will check. */
function forget(auth: Auth): void {
  if (auth.method === 'userPass') auth.password.fill(0);
}
