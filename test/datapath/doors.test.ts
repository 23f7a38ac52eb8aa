/** When the doors are looked at: as far as their shares go, and not again at once when there was more. Virtual time. */
import { beforeEach, describe, expect, it } from 'vitest';
import { ControlShare } from '../../src/datapath/control-share.ts';
import { Doors } from '../../src/datapath/doors.ts';
import type { Path } from '../../src/datapath/path.ts';
import type { Addon, PortHandle } from '../../src/native/index.ts';
import { MS, SECOND } from '../../src/wire/time.ts';

/** Three doors with endlessly many datagrams behind one of them, each of which takes `micros` to receive. */
class Flooded {
  now = SECOND;
  micros = 1;
  waiting = Number.POSITIVE_INFINITY;
  watched = 0;
  readonly visits: [door: number, limit: number][] = [];
  readonly header = new Uint32Array(3);
  readonly control = { strangersFrom: 0, fromDoors: 0 };
  readonly shares = [new ControlShare(), new ControlShare(1 / 20)];
  readonly doors: Doors;
  readonly #behind: number;

  /** @param behind which door; that of the strangers unless said otherwise */
  constructor(behind = 1) {
    this.#behind = behind;
    const addon = {
      watchDoors: (_: unknown, mask: number) => {
        this.watched = mask;
      },
      doorReceive: (_: unknown, door: number, limit: number) => {
        this.visits.push([door, limit]);
        const received = Math.min(limit, this.waiting);
        this.waiting -= received;
        this.now += received * this.micros;
        this.header[0] += received;
        return received;
      },
      monotonicMicros: () => this.now,
    };
    this.doors = new Doors(addon as unknown as Addon, {} as PortHandle, this.shares);
  }

  /** @returns how many were taken */
  turn(handshakes = true): number {
    this.doors.begin(handshakes);
    const before = 3;
    this.header[0] = before;
    const ready = this.watched & (1 << this.#behind) ? 16 << this.#behind : 0;
    this.doors.receive({
      ready,
      batches: { trainsIn: { header: this.header } },
      control: this.control,
    } as unknown as Path);
    return this.header[0] - before;
  }
}

describe('the doors', () => {
  let flooded: Flooded;
  beforeEach(() => {
    flooded = new Flooded();
  });

  it('are visited a vector at a time, and rest while there is more', () => {
    expect(flooded.turn()).toBe(16);
    expect(flooded.control.strangersFrom).toBe(3);
    expect(flooded.turn()).toBe(0);
    expect(flooded.control.strangersFrom).toBe(Number.POSITIVE_INFINITY);
    expect(flooded.watched).toBe(0b101);
    const opens = flooded.doors.nextDeadline() as number;
    expect(opens - flooded.now).toBeCloseTo(MS, 6);
    flooded.now = opens;
    expect(flooded.turn()).toBe(16);
  });

  it('are not watched for handshakes while there is no time for more of those', () => {
    flooded.turn();
    flooded.now += MS;
    expect(flooded.turn(false)).toBe(16);
    expect(flooded.watched).toBe(0b110);
    flooded.turn();
    expect(flooded.watched).toBe(0b101);
  });

  it('let suspects rest for 4 ms where there are more, and count none of them for a stranger', () => {
    flooded = new Flooded(2);
    const taken = flooded.turn();
    expect(taken).toBeGreaterThan(16);
    expect(taken).toBeLessThanOrEqual(64);
    expect(flooded.control).toEqual({ strangersFrom: Number.POSITIVE_INFINITY, fromDoors: 0 });
    expect(flooded.turn()).toBe(0);
    expect(flooded.watched).toBe(0b011);
    const opens = flooded.doors.nextDeadline() as number;
    expect(opens - flooded.now).toBeCloseTo(4 * MS, 6);
    flooded.now = opens;
    expect(flooded.turn()).toBe(64); // what they take has been measured
  });

  it('do not rest when nothing is left', () => {
    flooded.waiting = 5;
    expect(flooded.turn()).toBe(5);
    flooded.waiting = 2;
    expect(flooded.turn()).toBe(2);
    expect(flooded.doors.nextDeadline()).toBeUndefined();
  });

  it.each([1, 20, 60])('take a twentieth of the time under a flood whose datagrams take %i µs each', (micros) => {
    flooded.micros = 0.5;
    let spent = 0;
    let heard = 0;
    const begin = flooded.now;
    while (flooded.now < begin + SECOND) {
      const at = flooded.now;
      const taken = flooded.turn();
      for (let i = 0; i < taken; i++) flooded.shares[1].spend(micros);
      flooded.now += taken * micros;
      spent += flooded.now - at;
      heard += taken;
      flooded.now += 30; // the sessions' part of the turn
    }
    expect(spent).toBeLessThan(0.055 * SECOND);
    expect(heard).toBeGreaterThan(Math.min(15_000, (0.04 * SECOND) / micros));
  });
});
