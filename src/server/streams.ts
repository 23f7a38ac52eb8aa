/**
 * The TCP side of a shard: accepts on its own listening socket, reads a PROXY header where one is due, speaks TLS 1.3 by
 * `node:tls`, and makes a session of every connection.
 */
import net from 'node:net';
import tls from 'node:tls';
import { encodeAddress } from '../datapath/address.ts';
import type { Control } from '../datapath/control.ts';
import { SlotFlag, SlotState } from '../datapath/layout.ts';
import { StreamPeer } from '../datapath/stream-peer.ts';
import { ServerSession } from '../session/server.ts';
import { createCounters, type ServerConfig as SessionConfig } from '../session/types.ts';
import { VERSION_1_1 } from '../wire/header.ts';
import { type HalfOpen, sourceOf } from './half-open.ts';
import { type ProxiedPeer, readProxyHeader } from './proxy.ts';

/** Time for a TLS handshake; the stock server gives a session 60 s in all. */
const HANDSHAKE_MS = 12_700;
/** Connections of a shard that have not logged in yet: each costs memory. */
const MAX_PENDING = 1_024;
const GROUPS = 'X25519MLKEM768:X25519:P-256:P-384:P-521';
const SUITES = 'TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256';

export interface StreamOptions {
  readonly control: Control;
  readonly halfOpen: HalfOpen;
  readonly shard: number;
  readonly listener: number;
  readonly cert: string;
  readonly key: string;
  readonly proxyProtocol: boolean;
  readonly session: Omit<SessionConfig, 'transport' | 'counters'>;
  /** Work for the shard has come in: packets, or moved deadlines. */
  readonly wake: () => void;
}

export class StreamAcceptor {
  readonly counters = { accepted: 0, proxyRefused: 0, tlsFailed: 0, overload: 0, sourceFull: 0 };
  readonly sessionCounters = createCounters();
  readonly #options: StreamOptions;
  readonly #context: tls.SecureContext;
  readonly #config: SessionConfig;
  readonly #server: net.Server;
  #pending = 0;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.#config = { ...options.session, transport: 'tcp', counters: this.sessionCounters };
    this.#context = tls.createSecureContext({
      cert: options.cert,
      key: options.key,
      minVersion: 'TLSv1.3',
      maxVersion: 'TLSv1.3',
      ciphers: SUITES,
      ecdhCurve: GROUPS,
    });
    this.#server = net.createServer({ noDelay: true, pauseOnConnect: false }, (socket) => void this.#accept(socket));
    // node:net closes what it listens on; the keeper's descriptor must outlive this thread
    this.#server.listen({ fd: options.control.addon.duplicateDescriptor(options.listener) });
  }

  close(): void {
    this.#server.close();
  }

  async #accept(socket: net.Socket): Promise<void> {
    this.counters.accepted++;
    socket.on('error', () => socket.destroy());
    if (this.#pending + this.#options.halfOpen.sessions >= MAX_PENDING) {
      this.counters.overload++;
      socket.destroy();
      return;
    }
    this.#pending++;
    try {
      let peer: ProxiedPeer = { address: socket.remoteAddress ?? '', portNumber: socket.remotePort ?? 0 };
      if (this.#options.proxyProtocol) {
        const proxied = await readProxyHeader(socket);
        if (!proxied) {
          this.counters.proxyRefused++;
          socket.destroy();
          return;
        }
        peer = proxied;
      }
      await this.#admit(socket, peer);
    } finally {
      this.#pending--;
    }
  }

  async #admit(socket: net.Socket, { address, portNumber }: ProxiedPeer): Promise<void> {
    const { halfOpen } = this.#options;
    const remote = encodeAddress(address, portNumber, socket.localAddress ?? '');
    const source = sourceOf(remote);
    if (!halfOpen.hasRoom(source)) {
      this.counters.sourceFull++;
      socket.destroy();
      return;
    }
    halfOpen.enter(source);
    const opened = await this.#secure(socket, (secure) => this.#open(secure, remote, source));
    if (!opened) halfOpen.leave(source);
  }

  /** @param open called at once when the handshake is done: whatever the connection says next has somebody to hear it @returns what it says, or false */
  #secure(socket: net.Socket, open: (secure: tls.TLSSocket) => boolean): Promise<boolean> {
    return new Promise((resolve) => {
      const secure = new tls.TLSSocket(socket, { isServer: true, secureContext: this.#context });
      const failed = () => {
        over();
        resolve(false);
        this.counters.tlsFailed++;
        secure.destroy();
      };
      const over = () => {
        clearTimeout(timer);
        secure.off('close', failed);
      };
      const timer = setTimeout(failed, HANDSHAKE_MS);
      secure.on('error', () => secure.destroy()); // told by 'close', once
      secure.once('close', failed);
      secure.once('secure', () => {
        over();
        resolve(open(secure));
      });
    });
  }

  /** @returns false when the table is full */
  #open(secure: tls.TLSSocket, remote: Uint8Array, source: string): boolean {
    const { control, halfOpen, wake, shard } = this.#options;
    const slot = control.takeSlot();
    if (slot < 0) {
      this.counters.overload++;
      secure.destroy();
      return false;
    }
    halfOpen.hold(slot, source);
    const now = control.now();
    const { fields } = control.table;
    fields.shard.set(slot, shard);
    fields.flags.set(slot, SlotFlag.stream);
    fields.versionMajor.set(slot, VERSION_1_1.major);
    fields.versionMinor.set(slot, VERSION_1_1.minor);
    fields.remote.set(slot, remote);
    fields.state.set(slot, SlotState.handshake);
    const session = new ServerSession(this.#config, VERSION_1_1, undefined);
    session.start(now);
    const changed = (each: StreamPeer) => {
      control.reschedule(each);
      wake();
    };
    const streamPeer = new StreamPeer(slot, secure, session, control, control.table, changed);
    control.add(streamPeer, streamPeer.write);
    streamPeer.linkUp(now);
    return true;
  }
}
