// What server and client sessions have in common: frames in, outputs out, echo, inner packets, Expresslane, and the end.
//
// > Call order: `start`, `linkUp` when the (D)TLS handshake is done, then `receive`, `received`, `advance` and the commands as they come.
// > After each of them `drain`, do what it says in order, and ask for `nextDeadline` again. While it is Online and `changed`
// > is set, write a `snapshot` into its slot before the outputs leave.
//
// Sans-IO: `now` is handed in, nothing is fetched, no timer runs. Only the shard that owns the session calls it.

import { decodeFrame, encodeFrame, type Frame, FrameStream, MAX_FRAME_LENGTH } from '../wire/frames.ts';
import { VERSION_1_3, type Version } from '../wire/header.ts';
import { Reader, WireError } from '../wire/reader.ts';
import type { Micros } from '../wire/time.ts';
import { Expresslane } from './expresslane.ts';
import { Fragments } from './fragments.ts';
import {
  CLOSE_REASON,
  type CloseCode,
  type Counters,
  type DropReason,
  type LaneConfig,
  type LaneKeys,
  type Output,
  type State,
  type Transport,
} from './types.ts';

const NEVER = Number.POSITIVE_INFINITY;
const MIN_PACKET = 20; // an IPv4 header
const EMPTY = new Uint8Array(0);
const NOTHING: readonly Output[] = Object.freeze([]);

type SharedConfig = { transport: Transport; expresslane: LaneConfig; counters: Counters };

export abstract class Session {
  state: State = 'connecting';
  /** The version of the session's first datagram, echoed in all headers. */
  readonly version: Version;
  readonly counters: Counters;
  /** Something that a snapshot holds is new; `snapshot` clears it. */
  changed = false;
  /** The Expresslane exchange, where the transport and the version have one (§6.1). */
  readonly lane: Expresslane | undefined;
  protected readonly transport: Transport;
  #outputs: Output[] | undefined;
  #stream: FrameStream | undefined;
  #record: Reader | undefined;
  #fragments: Fragments | undefined;

  /** @param keys the session's Expresslane keys; undefined over TCP */
  constructor(config: SharedConfig, version: Version, keys: LaneKeys | undefined, role: 'client' | 'server') {
    this.version = version;
    this.counters = config.counters;
    this.transport = config.transport;
    const has = config.transport === 'udp' && version === VERSION_1_3 && keys !== undefined;
    this.lane = has ? new Expresslane(keys, config.expresslane, role) : undefined;
    if (config.transport === 'tcp') this.#stream = new FrameStream();
  }

  /** How often each datagram goes out at present, those of the handshake too: a client repeats itself until Online (§1.6). */
  abstract get repeat(): number;

  /** The (D)TLS handshake has begun. */
  abstract start(now: Micros): void;

  /** The (D)TLS handshake is done: application data may flow. */
  abstract linkUp(now: Micros): void;

  /**
   * Takes application data: over UDP one record, over TCP the next bytes of the stream. Outputs hold views into it until they are drained.
   * @returns frames decoded; with at least one, the header id and source address of the datagram are proven (§7)
   */
  receive(now: Micros, plaintext: Uint8Array): number {
    if (this.state === 'closed') {
      this.counters.afterClose++;
      return 0;
    }
    let decoded = 0;
    try {
      for (let frame = this.#open(plaintext); frame !== undefined; frame = this.#next()) {
        decoded++;
        this.#take(now, frame);
        if ((this.state as State) === 'closed') break;
      }
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#malformed(now, error);
    }
    if (decoded > 0 && (this.state as State) !== 'closed') this.received(now);
    return decoded;
  }

  /** The bulk path opened a packet of this session at `now`. May be called coarsely and late: what is older than the last frame changes nothing. */
  abstract received(now: Micros): void;

  /**
   * Writes the control state of an Online session into its slot, everything but keys and packets half reassembled, and clears `changed`.
   * @param into at least SNAPSHOT_SIZE bytes
   * @throws RangeError in any other state, and for fewer bytes
   */
  abstract snapshot(into: Uint8Array): void;

  /** An inner packet is about to leave. Decides by time alone, so once per vector, or per 100 ms, is enough. */
  insideActivity(now: Micros): void {
    if (this.state === 'online') this.lane?.rotate(now, this);
  }

  /** Sends a keepalive Ping: it brings the client the new session id of a rotation just begun (§7.4). */
  announce(_now: Micros): void {
    if (this.state === 'online') this.ping();
  }

  /** Does what is due. */
  advance(now: Micros): void {
    if (this.state === 'closed') return;
    if (this.lane?.advance(now, this)) this.changed = true;
    this.#fragments?.advance(now, this.counters);
    if (this.#fragments?.size === 0) this.#fragments = undefined;
    this.advanceRole(now);
  }

  /** When `advance` is to be called next, if nothing else happens. */
  nextDeadline(): Micros | undefined {
    if (this.state === 'closed') return undefined;
    const lane = this.lane === undefined ? NEVER : this.lane.deadline;
    const fragments = this.#fragments === undefined ? NEVER : this.#fragments.deadline;
    const deadline = Math.min(lane, fragments, this.deadlineRole());
    return deadline === NEVER ? undefined : deadline;
  }

  /** What there is to do, in order. The array is the caller's. */
  drain(): readonly Output[] {
    const outputs = this.#outputs;
    if (outputs === undefined) return NOTHING;
    this.#outputs = undefined;
    return outputs;
  }

  /** Ends the session: with Goodbye and close_notify, unless the handshake never was done or nobody is left to hear it. */
  close(_now: Micros, code: CloseCode = 'LOCAL'): void {
    if (this.state === 'closed') return;
    const notify = this.state !== 'connecting' && code !== 'PEER_GONE' && code !== 'OUTER_FAILED';
    const { repeat } = this;
    if (notify) this.sendFrame(encodeFrame({ kind: 'goodbye' }), false);
    this.state = 'closed';
    this.#stream = undefined;
    this.#record = undefined;
    this.#fragments = undefined;
    this.lane?.stop();
    this.push({ kind: 'closed', code, reason: CLOSE_REASON[code], notify, repeat });
  }

  /** Sends an encoded frame; for the parts of the session. */
  sendFrame(bytes: Uint8Array, secret: boolean): void {
    this.push({ kind: 'frame', bytes, repeat: this.repeat, secret });
  }

  protected push(output: Output): void {
    this.changed = true;
    this.#put(output);
  }

  protected ping(): void {
    const payload = this.lane === undefined ? EMPTY : this.lane.statistics();
    this.sendFrame(encodeFrame({ kind: 'ping', id: 0, payload }), false);
  }

  /** Packets may flow from here on. */
  protected becomeOnline(): void {
    this.state = 'online';
    if (this.#stream !== undefined) this.#stream.limit = MAX_FRAME_LENGTH;
  }

  /** Counts a frame that is not followed. Over TCP that ends the session (§2.11). */
  protected ignore(now: Micros, reason: DropReason, code: CloseCode): void {
    this.counters[reason]++;
    if (this.transport === 'tcp') this.close(now, code);
  }

  /** Counts a frame that ends the session over either transport. */
  protected refuse(now: Micros, reason: DropReason, code: CloseCode): void {
    this.counters[reason]++;
    this.close(now, code);
  }

  /** Frames that only one role may get. */
  protected abstract takeRole(now: Micros, frame: Frame): void;
  /** A Pong with id 0 came. */
  protected abstract ponged(now: Micros): void;
  /** A Pong with another id came: a probe of the path MTU was answered. */
  protected abstract probed(now: Micros, id: number): void;
  protected abstract advanceRole(now: Micros): void;
  protected abstract deadlineRole(): Micros;

  #open(plaintext: Uint8Array): Frame | undefined {
    if (this.#stream !== undefined) this.#stream.push(plaintext);
    else this.#record = new Reader(plaintext);
    return this.#next();
  }

  #next(): Frame | undefined {
    if (this.#stream !== undefined) return this.#stream.next();
    const record = this.#record as Reader;
    if (record.remaining > 0) return decodeFrame(record);
    this.#record = undefined;
    return undefined;
  }

  // Over UDP the rest of the record is dropped; the next one begins with a frame again (§3.1).
  #malformed(now: Micros, error: WireError): void {
    this.#record = undefined;
    if (error.code === 'TRUNCATED') {
      this.ignore(now, 'truncatedFrame', 'BAD_FRAME');
      return;
    }
    if (error.code === 'UNKNOWN_KIND') {
      this.ignore(now, 'unknownKind', 'BAD_FRAME');
      return;
    }
    if (error.code === 'BAD_VERSION') {
      this.ignore(now, 'badVersion', 'BAD_FRAME');
      return;
    }
    this.refuse(now, 'badFrame', 'BAD_FRAME');
  }

  #take(now: Micros, frame: Frame): void {
    switch (frame.kind) {
      case 'noOp':
        return;
      case 'goodbye':
        this.close(now, 'GOODBYE');
        return;
      case 'ping':
      case 'pong':
      case 'data':
      case 'dataFrag':
      case 'encodedData':
      case 'encodedDataFrag':
      case 'expresslaneConfig':
        if (this.state !== 'online') {
          this.ignore(now, 'invalidState', 'INVALID_STATE');
          return;
        }
        this.#takeOnline(now, frame);
        return;
      default:
        this.takeRole(now, frame);
        return;
    }
  }

  #takeOnline(now: Micros, frame: Frame): void {
    switch (frame.kind) {
      case 'ping': {
        // A probe of the path MTU (id ≠ 0) is answered without the payload it came with (§3.3).
        const payload = frame.id !== 0 || this.lane === undefined ? EMPTY : this.lane.statistics();
        const bytes = encodeFrame({ kind: 'pong', id: frame.id, payload });
        this.#put({ kind: 'frame', bytes, repeat: this.repeat, secret: false }); // changes nothing that a snapshot holds
        return;
      }
      case 'pong':
        if (frame.id !== 0) {
          this.probed(now, frame.id);
          return;
        }
        this.changed = true;
        this.ponged(now);
        this.lane?.judge(now, frame.payload, this);
        return;
      case 'data':
        this.#takePacket(now, frame.packet);
        return;
      case 'dataFrag': {
        this.#fragments ??= new Fragments();
        const whole = this.#fragments.add(now, frame, this.counters);
        if (this.#fragments.size === 0) this.#fragments = undefined;
        if (typeof whole === 'string') this.ignore(now, whole, 'INVALID_FRAGMENT');
        else if (whole !== undefined) this.#takePacket(now, whole);
        return;
      }
      case 'expresslaneConfig':
        if (this.lane === undefined) {
          this.ignore(now, 'notSupported', 'NOT_SUPPORTED');
          return;
        }
        this.changed = true;
        this.lane.receive(now, frame, this);
        return;
      default: // encodedData, encodedDataFrag
        this.refuse(now, 'noCodec', 'NO_CODEC');
        return;
    }
  }

  #takePacket(now: Micros, bytes: Uint8Array): void {
    const isIpv4 = bytes.length >= MIN_PACKET && bytes[0] >> 4 === 4;
    if (!isIpv4) {
      this.ignore(now, 'invalidPacket', 'INVALID_PACKET');
      return;
    }
    this.#put({ kind: 'packet', bytes });
  }

  #put(output: Output): void {
    if (this.#outputs === undefined) this.#outputs = [output];
    else this.#outputs.push(output);
  }
}
