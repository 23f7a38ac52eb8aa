/**
 * One session over TCP: a TLS 1.3 stream of Node's own and the Lightway session above it. Its slot has no keys: `lanes.seal` makes
 * plain Data frames for it, which are written to the stream, and packets that come in as frames join the uplink.
 */
import type { TLSSocket } from 'node:tls';
import type { ClientSession } from '../session/client.ts';
import type { ServerSession } from '../session/server.ts';
import type { Micros } from '../wire/time.ts';
import type { Grant, Peer, PeerHost } from './host.ts';
import { SlotState } from './layout.ts';
import type { SessionTable } from './table.ts';

/** How long a closing stream may take to say close_notify and be acknowledged. */
const LINGER_MS = 300;
/** Bytes that may wait for the kernel; inner packets beyond are dropped (protocol specification §3.8). */
const BACKLOG = 1 << 20;
/**
 * Beyond this nothing more is read until all is written: a peer that asks and never listens must not fill memory with answers.
 * Packets alone never come so far, or two ends that are both full would wait for each other.
 */
const BACKLOG_OF_ANSWERS = 2 * BACKLOG;

/** Data frames, `05 | length u16 | packet`, one behind the other as lanes.seal makes them: how many packets that is. */
export function packetsIn(frames: Uint8Array): number {
  let count = 0;
  for (let at = 0; at + 3 <= frames.length; count++) at += 3 + ((frames[at + 1] << 8) | frames[at + 2]);
  return count;
}

export class StreamPeer implements Peer {
  readonly slot: number;
  user = '';
  readonly session: ServerSession | ClientSession;
  readonly #socket: TLSSocket;
  readonly #host: PeerHost;
  readonly #table: SessionTable;
  readonly #changed: (peer: StreamPeer) => void;
  #ended = false;

  /** @param changed called after every read: deadlines may have moved, packets may wait */
  constructor(
    slot: number,
    socket: TLSSocket,
    session: ServerSession | ClientSession,
    host: PeerHost,
    table: SessionTable,
    changed: (peer: StreamPeer) => void,
  ) {
    this.slot = slot;
    this.#socket = socket;
    this.session = session;
    this.#host = host;
    this.#table = table;
    this.#changed = changed;
    socket.setNoDelay(true);
    socket.on('data', (bytes: Buffer) => {
      if (this.#ended) return; // the slot is somebody else's by now
      const now = host.now();
      table.fields.lastOutside.set(slot, now);
      session.receive(now, bytes);
      this.pump();
      changed(this);
      if (socket.writableLength > BACKLOG_OF_ANSWERS) socket.pause();
    });
    socket.on('drain', () => socket.resume());
    socket.on('error', (error) => this.#lost('OUTER_FAILED', error.message));
    socket.on('end', () => this.#lost('PEER_GONE', 'the peer closed the connection'));
    socket.on('close', () => this.#lost('PEER_GONE', 'the connection is closed'));
  }

  /** The TLS handshake is done. */
  linkUp(now: Micros): void {
    this.#table.fields.state.set(this.slot, SlotState.linkUp);
    this.session.linkUp(now);
    this.pump();
    this.#changed(this);
  }

  /** Plain Data frames of lanes.seal: see StreamWriter. */
  readonly write = (bytes: Uint8Array): boolean => {
    if (this.#ended || this.#socket.writableLength > BACKLOG) return false;
    this.#socket.write(bytes.slice());
    return true;
  };

  /** Nothing but deadlines of its own. */
  get stirred(): boolean {
    return false;
  }

  complete(): void {}

  authorise(now: Micros, grant: Grant | undefined, code: 'ACCESS_DENIED' | 'NO_ADDRESS'): void {
    const session = this.session as ServerSession;
    session.authorise(
      now,
      grant ? { granted: true, networkConfig: grant.networkConfig, sessionId: 0n } : { granted: false, code },
    );
    this.pump();
  }

  advance(now: Micros): void {
    this.session.advance(now);
    this.pump();
  }

  nextDeadline(): Micros | undefined {
    return this.session.nextDeadline();
  }

  close(now: Micros): void {
    this.session.close(now, 'LOCAL');
    this.pump();
    this.#finish('LOCAL', 'closed before login');
  }

  pump(): void {
    for (const output of this.session.drain()) {
      switch (output.kind) {
        case 'frame':
          if (!this.#ended) this.#socket.write(output.secret ? output.bytes.slice() : output.bytes);
          break;
        case 'authenticate':
          this.#host.authenticate(this, output.auth);
          break;
        case 'online':
          this.#table.fields.state.set(this.slot, SlotState.online);
          this.#host.online(this, output.networkConfig);
          break;
        case 'packet':
          this.#host.inject(this.slot, output.bytes);
          break;
        case 'closed':
          this.#finish(output.code, output.reason);
          break;
      }
    }
  }

  #lost(code: 'OUTER_FAILED' | 'PEER_GONE', reason: string): void {
    if (this.#ended) return;
    this.session.close(this.#host.now(), code);
    this.session.drain();
    this.#finish(code, reason);
    this.#changed(this);
  }

  #finish(code: string, reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#socket.end();
    setTimeout(() => this.#socket.destroy(), LINGER_MS).unref();
    this.#host.ended(this, code, reason);
  }
}
