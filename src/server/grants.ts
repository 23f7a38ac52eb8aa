/**
 * Which shard each leased address was granted to. A shard that dies may take answers with it that it never read, and words of
 * release that nobody read: when its successor has looked through the table, what no session has is free.
 */
export class Grants {
  readonly #shardOf = new Map<number, number>();
  readonly #doubtful = new Map<number, number>();

  granted(address: number, shard: number): void {
    this.#shardOf.set(address, shard);
    this.#doubtful.delete(address);
  }

  released(address: number): void {
    this.#shardOf.delete(address);
    this.#doubtful.delete(address);
  }

  /** What is granted from here on goes to the successor, and is not in doubt. */
  died(shard: number): void {
    for (const [address, owner] of this.#shardOf) if (owner === shard) this.#doubtful.set(address, shard);
  }

  /**
   * The successor of `shard` has restored its sessions.
   * @param held inside addresses of all sessions in the table
   * @returns addresses that no session has, no longer granted
   */
  settled(shard: number, held: ReadonlySet<number>): number[] {
    const lost: number[] = [];
    for (const [address, owner] of this.#doubtful) {
      if (owner !== shard) continue;
      this.#doubtful.delete(address);
      if (held.has(address)) continue;
      this.#shardOf.delete(address);
      lost.push(address);
    }
    return lost;
  }
}
