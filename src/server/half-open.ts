/**
 * Clients that have proved their address and not yet logged in, by where they come from: one host, which may take a cookie from each of its
 * ports or connect as often as it likes, must not fill the table until its handshakes time out.
 */
import { ADDRESS } from '../datapath/batch.ts';

/**
 * Half of what a shard's crypto pool is asked at once. Behind a NAT that many may be logging in at the same time; beyond, clients ask again,
 * which at 50 ms a login makes thousands a second.
 */
const MOST_PER_SOURCE = 256;

/** The source of an address laid out as ADDRESS: an IPv4 address, or a /64, which is what one host of IPv6 may choose from. */
export function sourceOf(address: Uint8Array): string {
  const length = address[ADDRESS.family] === 6 ? 8 : 4;
  return Buffer.from(address.buffer, address.byteOffset + ADDRESS.remote, length).toString('hex');
}

export class HalfOpen {
  /** By source; one that has none is not in it. */
  readonly #counts = new Map<string, number>();
  readonly #sources = new Map<number, string>();
  readonly #most: number;

  constructor(most = MOST_PER_SOURCE) {
    this.#most = most;
  }

  hasRoom(source: string): boolean {
    return (this.#counts.get(source) ?? 0) < this.#most;
  }

  enter(source: string): void {
    this.#counts.set(source, (this.#counts.get(source) ?? 0) + 1);
  }

  leave(source: string): void {
    const count = (this.#counts.get(source) ?? 0) - 1;
    if (count > 0) this.#counts.set(source, count);
    else this.#counts.delete(source);
  }

  /** One that has entered is the session in `slot` now, and leaves with it. */
  hold(slot: number, source: string): void {
    this.#sources.set(slot, source);
  }

  /** The session in `slot` is Online, or over. */
  settled(slot: number): void {
    const source = this.#sources.get(slot);
    if (source === undefined) return;
    this.#sources.delete(slot);
    this.leave(source);
  }

  /** Sessions that have not logged in yet. */
  get sessions(): number {
    return this.#sources.size;
  }
}
