/** How much of what waits is done at a time. Virtual time: each job says how long it takes. */
import { describe, expect, it } from 'vitest';
import { Backlog } from '../../src/datapath/backlog.ts';

class Bench {
  readonly backlog = new Backlog();
  readonly done: number[] = [];
  clock = 0;

  add(number: number, micros: number): void {
    this.backlog.add((now) => {
      expect(now).toBe(7);
      this.done.push(number);
      this.clock += micros;
    });
  }

  run(budget: number): number[] {
    this.done.length = 0;
    this.backlog.run(7, this.clock + budget, () => this.clock);
    return [...this.done];
  }
}

describe('the backlog', () => {
  it('does what there is time for in order, leaves the rest as it was, and always does one', () => {
    const bench = new Bench();
    for (let number = 0; number < 5; number++) bench.add(number, 120);
    expect(bench.run(300)).toEqual([0, 1, 2]);
    bench.add(5, 1_000);
    bench.add(6, 1);
    expect(bench.backlog.size).toBe(4);
    expect(bench.run(300)).toEqual([3, 4, 5]);
    bench.add(7, 1_000);
    expect(bench.run(0)).toEqual([6]);
    expect(bench.run(0)).toEqual([7]);
    expect([bench.run(300), bench.backlog.size]).toEqual([[], 0]);
  });

  it('does what a job adds behind all others, in the same run where there is time', () => {
    const bench = new Bench();
    bench.backlog.add(() => bench.add(2, 1));
    bench.add(1, 1);
    expect(bench.run(300)).toEqual([1, 2]);
  });

  it('forgets none of 10,000 that come while it works', () => {
    const bench = new Bench();
    const all: number[] = [];
    for (let number = 0; number < 10_000; number++) {
      bench.add(number, 40);
      if (number % 3 === 0) all.push(...bench.run(60));
    }
    while (bench.backlog.size > 0) all.push(...bench.run(60));
    expect(all).toEqual(Array.from({ length: 10_000 }, (_, i) => i));
  });

  it('goes on after a job that threw', () => {
    const bench = new Bench();
    bench.backlog.add(() => {
      throw new Error('its own');
    });
    bench.add(1, 1);
    expect(() => bench.run(300)).toThrow('its own');
    expect(bench.run(300)).toEqual([1]);
  });
});
