/** Session id, outside address and inside address → slot: the addon's shared index in plain memory, for one thread. */

export type IndexKind = 'id' | 'outside' | 'inside';

export class IndexMap {
  readonly #slots = {
    id: new Map<string, number>(),
    outside: new Map<string, number>(),
    inside: new Map<string, number>(),
  };

  /** @param key 8 bytes (id), 20 bytes (outside address) or 4 bytes (inside address, big-endian) */
  set(kind: IndexKind, key: Uint8Array, slot: number): void {
    this.#slots[kind].set(keyOf(key), slot);
  }

  /** Only when the key still leads to `slot`: whoever took it over keeps it. */
  delete(kind: IndexKind, key: Uint8Array, slot: number): void {
    if (this.get(kind, key) === slot) this.#slots[kind].delete(keyOf(key));
  }

  /** @returns the slot, or −1 */
  get(kind: IndexKind, key: Uint8Array): number {
    return this.#slots[kind].get(keyOf(key)) ?? -1;
  }
}

function keyOf(key: Uint8Array): string {
  return key.join('.');
}
