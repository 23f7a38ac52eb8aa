/** The search for the path MTU against paths of every size, lossy and changing, in virtual time (protocol specification §8.4). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { handshakeMtu, PathMtu, type Probe, pathMtuConfig } from '../../src/session/path-mtu.ts';
import { type Micros, MS, SECOND } from '../../src/wire/time.ts';

const ROUND_TRIP = 20 * MS;
const CONFIG = pathMtuConfig(1500, null);

/** A path that carries frames up to `limit`, and answers them after a round trip unless `loses` says so. */
class Path {
  now: Micros = 0;
  limit: number;
  readonly sent: Probe[] = [];
  readonly mtu: PathMtu;
  readonly #loses: (probe: number) => boolean;
  #answers: { at: Micros; id: number }[] = [];

  constructor(limit: number, loses: (probe: number) => boolean = () => false, config = CONFIG) {
    this.limit = limit;
    this.#loses = loses;
    this.mtu = new PathMtu(config);
    this.#take(this.mtu.start(0));
  }

  /** Lets time pass until `end`. */
  pass(end: Micros): void {
    for (;;) {
      const [answer] = this.#answers;
      const at = Math.min(answer?.at ?? Number.POSITIVE_INFINITY, this.mtu.deadline);
      if (at > end) break;
      this.now = at;
      if (answer?.at === at) {
        this.#answers.shift();
        this.#take(this.mtu.pong(at, answer.id));
      } else this.#take(this.mtu.advance(at));
    }
    this.now = end;
  }

  #take(probe: Probe | undefined): void {
    if (!probe) return;
    const index = this.sent.push(probe) - 1;
    if (probe.size <= this.limit && !this.#loses(index))
      this.#answers.push({ at: this.now + ROUND_TRIP, id: probe.id });
  }
}

const sizes = (path: Path) => path.sent.map(({ size }) => size);

describe('the search for the path MTU', () => {
  it('takes seven round trips on a path of 1,500 bytes, and ends at what the interface carries', () => {
    const path = new Path(1419);
    path.pass(7 * ROUND_TRIP);
    expect(sizes(path)).toEqual([1250, 1282, 1314, 1346, 1378, 1410, 1419]);
    expect(path.mtu).toMatchObject({ state: 'complete', estimate: 1419 });
  });

  it('tries a size three times, five seconds apart, then goes on in small steps, then is content', () => {
    const path = new Path(1300);
    path.pass(40 * SECOND);
    expect(sizes(path)).toEqual([1250, 1282, 1314, 1314, 1314, 1290, 1298, 1306, 1306, 1306]);
    expect(path.mtu).toMatchObject({ state: 'complete', estimate: 1298 });
  });

  it('knows nothing while not even the base size is answered, and asks every five seconds', () => {
    const path = new Path(1200);
    path.pass(61 * SECOND);
    expect(path.mtu).toMatchObject({ state: 'error', estimate: 0 });
    expect(new Set(sizes(path))).toEqual(new Set([1250]));
    expect(path.sent).toHaveLength(13);
    path.limit = 1400;
    path.pass(120 * SECOND);
    expect(path.mtu.estimate).toBe(1394); // 1250 + 4 × 32, + 2 × 8
  });

  it('confirms what it found every ten minutes, looks for more, and begins anew when a path carries less', () => {
    const path = new Path(1300);
    path.pass(60 * SECOND);
    path.limit = 1419;
    path.pass(700 * SECOND);
    expect(path.mtu).toMatchObject({ state: 'complete', estimate: 1419 });
    path.limit = 1280;
    path.pass(path.mtu.deadline); // the confirmation leaves
    path.pass(path.now + 14 * SECOND);
    expect(path.mtu.estimate).toBe(1419); // two of three attempts
    path.pass(path.now + 2 * SECOND);
    expect(path.mtu.estimate).toBe(1250);
    path.pass(path.now + 60 * SECOND);
    expect(path.mtu.estimate).toBe(1274);
  });

  it('ignores answers to older probes and to none', () => {
    const mtu = new PathMtu(CONFIG);
    const first = mtu.start(0);
    const second = mtu.advance(5 * SECOND) as Probe;
    expect(second.id).not.toBe(first.id);
    for (const id of [first.id, 0, 99]) expect(mtu.pong(5 * SECOND, id)).toBeUndefined();
    expect(mtu.estimate).toBe(0);
    expect(mtu.pong(5 * SECOND, second.id)).toMatchObject({ size: 1282 });
    expect(mtu.pong(5 * SECOND, second.id)).toBeUndefined();
  });

  it('never uses id 0, not after 65,535 probes either', () => {
    const mtu = new PathMtu(CONFIG);
    let { id } = mtu.start(0);
    for (let i = 0; i < 70_000; i++) {
      const probe = mtu.advance(mtu.deadline);
      expect(probe?.id).toBe((id % 65_535) + 1);
      id = probe?.id as number;
    }
  });

  it('goes on in a new engine by asking at once', () => {
    const mtu = new PathMtu(CONFIG);
    mtu.resume();
    expect(mtu.estimate).toBe(0);
    const probe = mtu.advance(77) as Probe;
    expect(probe.size).toBe(1250);
    expect(mtu.pong(78, probe.id)).toMatchObject({ size: 1282 });
    expect(mtu.estimate).toBe(1250);
  });

  it('on any path, however lossy, never believes in more than the path carries, and finds it to 8 bytes where nothing is lost', () => {
    const paths = fc.record({
      outside: fc.integer({ min: 1331, max: 1500 }),
      limit: fc.integer({ min: 1000, max: 1600 }),
      seed: fc.integer(),
      loss: fc.constantFrom(0, 0, 2, 5),
    });
    fc.assert(
      fc.property(paths, ({ outside, limit, seed, loss }) => {
        const config = pathMtuConfig(outside, null);
        const path = new Path(limit, (probe) => loss > 0 && ((probe * 7919 + seed) >>> 0) % loss === 0, config);
        for (let at = SECOND; at < 900 * SECOND; at += 30 * SECOND) {
          path.pass(at);
          expect(path.mtu.estimate).toBeLessThanOrEqual(Math.min(limit, config.max));
        }
        const best = Math.min(limit, config.max);
        if (loss === 0 && limit >= config.base) expect(path.mtu.estimate).toBeGreaterThan(best - 8);
        if (limit < config.base) expect(path.mtu.estimate).toBe(0);
      }),
    );
  });
});

describe('datagrams of a handshake', () => {
  it.each([
    [1500, undefined, 1400],
    [1280, undefined, 1236],
    [1500, null, 1250],
    [1500, 1100, 1100],
    [68, 68, 256],
  ])('over an interface of %i bytes, with a search from %s, hold %i', (outside, base, expected) => {
    expect(handshakeMtu(outside, base === undefined ? undefined : pathMtuConfig(outside, base))).toBe(expected);
  });
});
