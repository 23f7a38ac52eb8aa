// Session ids over UDP: how a server rotates one and how a client adopts one (protocol specification §7). Small pure state; the
// datapath keeps the maps from ids to slots.

import { drawSessionId, EMPTY, REJECTED, type SessionId } from '../wire/header.ts';
import type { Random } from '../wire/time.ts';

/**
 * The server's side. A rotation begins when a client floats or a key update starts; from then on everything leaves under the new id,
 * and both ids come in until the client has used the new one (§7.4). There is no timeout: an idle client uses it with its next keepalive.
 */
export class ServerIds {
  current: SessionId;
  /** The id of a rotation under way, or EMPTY. */
  pending: SessionId;

  constructor(current: SessionId, pending: SessionId = EMPTY) {
    this.current = current;
    this.pending = pending;
  }

  /** What headers and Expresslane tags of leaving datagrams carry. */
  get outgoing(): SessionId {
    return this.pending === EMPTY ? this.current : this.pending;
  }

  /**
   * Begins a rotation, unless one is under way; then have the session `announce` it.
   * @param accept whether an id is free and leads to this shard
   * @returns the new id, to be entered into the map beside the current one; undefined while a rotation is under way
   */
  begin(random: Random, accept?: (id: SessionId) => boolean): SessionId | undefined {
    if (this.pending !== EMPTY) return undefined;
    this.pending = drawSessionId(random, (id) => id !== this.current && (accept === undefined || accept(id)));
    return this.pending;
  }

  /**
   * Hears the header id of a datagram that yielded at least one frame or packet.
   * @returns the retired id, to be taken out of the map, when this datagram ended a rotation; else EMPTY
   */
  onDecoded(id: SessionId): SessionId {
    if (this.pending === EMPTY || id !== this.pending) return EMPTY;
    const retired = this.current;
    this.current = this.pending;
    this.pending = EMPTY;
    return retired;
  }

  /** Whether a header may carry this id: the current one, the pending one, or EMPTY before the client has adopted any. */
  knows(id: SessionId): boolean {
    return id === EMPTY || id === this.current || id === this.pending;
  }
}

/** The client's side: EMPTY until the server's first decoded datagram, then whatever the latest decoded one carried (§7.2). */
export class ClientIds {
  current: SessionId;

  constructor(current: SessionId = EMPTY) {
    this.current = current;
  }

  /**
   * Hears the header id of a datagram that yielded at least one frame or packet, *after* its outputs were sent: the answer to
   * the datagram that brings a new id still carries the old one. REJECTED is never adopted; the server would drop all that carries it.
   * @returns whether the id changed
   */
  onDecoded(id: SessionId): boolean {
    if (id === EMPTY || id === REJECTED || id === this.current) return false;
    this.current = id;
    return true;
  }
}
