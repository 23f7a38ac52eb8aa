import type { Micros } from '../wire/time.ts';

/**
 * Which session of a shard wants attention next: a binary heap of (deadline, slot). A slot has one deadline at a time; setting
 * it anew leaves the old heap entry behind, which is skipped when it surfaces. Costs O(log n) a change and nothing a packet.
 */
export class Deadlines {
  readonly #of = new Map<number, Micros>();
  readonly #heap: { at: Micros; slot: number }[] = [];

  /** @param at point in time, or undefined for none */
  set(slot: number, at: Micros | undefined): void {
    if (at === undefined) {
      this.#of.delete(slot);
      return;
    }
    if (this.#of.get(slot) === at) return;
    this.#of.set(slot, at);
    this.#push({ at, slot });
    if (this.#heap.length > 64 + 4 * this.#of.size) this.#rebuild();
  }

  get size(): number {
    return this.#of.size;
  }

  /** The earliest deadline, or undefined. */
  next(): Micros | undefined {
    this.#prune();
    return this.#heap[0]?.at;
  }

  /** Takes out one slot whose deadline has come, or undefined. Its deadline is forgotten: set the next one. */
  due(now: Micros): number | undefined {
    this.#prune();
    const top = this.#heap[0];
    if (!top || top.at > now) return undefined;
    this.#pop();
    this.#of.delete(top.slot);
    return top.slot;
  }

  #prune(): void {
    for (;;) {
      const top = this.#heap[0];
      if (!top || this.#of.get(top.slot) === top.at) return;
      this.#pop();
    }
  }

  #rebuild(): void {
    this.#heap.length = 0;
    for (const [slot, at] of this.#of) this.#push({ at, slot });
  }

  #push(entry: { at: Micros; slot: number }): void {
    const heap = this.#heap;
    let child = heap.length;
    heap.push(entry);
    while (child > 0) {
      const parent = (child - 1) >> 1;
      if (heap[parent].at <= entry.at) break;
      heap[child] = heap[parent];
      child = parent;
    }
    heap[child] = entry;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (!last || heap.length === 0) return;
    let parent = 0;
    for (;;) {
      let child = 2 * parent + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1].at < heap[child].at) child++;
      if (heap[child].at >= last.at) break;
      heap[parent] = heap[child];
      parent = child;
    }
    heap[parent] = last;
  }
}
