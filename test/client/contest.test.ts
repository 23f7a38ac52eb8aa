/** Who of several servers a client stays with, and what becomes of the others: the real contest, on servers that do what a test says. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Contest, type Contestant } from '../../src/client/contest.ts';
import type { RingwayError } from '../../src/errors.ts';
import type { NetworkConfig } from '../../src/session/types.ts';
import { SECOND } from '../../src/wire/time.ts';

const NETWORK: NetworkConfig = { localIp: '100.64.0.6', peerIp: '100.64.0.5', dnsIp: '100.64.0.1', mtu: 1350 };

/** Everything that can happen without time passing has happened. */
async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

/** A server whose shard ends when the test says so. */
class Server implements Contestant {
  readonly place: number;
  readonly name: string;
  readonly told: string[] = [];
  end: () => void = () => {};

  constructor(place: number) {
    this.place = place;
    this.name = `server${place}:1`;
  }

  stop(how: 'stop' | 'yield', over: boolean): Promise<void> {
    this.told.push(over ? how : `${how}, to be gone on with`);
    return new Promise((resolve) => {
      this.end = resolve;
    });
  }
}

class Stage {
  readonly contest: Contest;
  readonly servers: readonly Server[];
  readonly said: string[] = [];
  #now = 100;
  #timers: { at: number; then: () => void }[] = [];

  constructor(count: number, wait = 0, goesOn = false) {
    this.contest = new Contest(count, wait, {
      now: () => this.#now,
      after: (ms, then) => {
        const timer = { at: this.#now + ms * 1_000, then };
        this.#timers.push(timer);
        return () => {
          this.#timers = this.#timers.filter((other) => other !== timer);
        };
      },
      warn: (message) => this.said.push(`warn ${/\[\w+\]/.exec(message)}`),
      won: ({ place }, network) => this.said.push(`won ${place} ${network.mtu}`),
      fatal: (error: RingwayError) => this.said.push(`fatal ${error.code}`),
    });
    this.servers = Array.from({ length: count }, (_, place) => new Server(place));
    for (const server of this.servers) {
      if (goesOn) this.contest.goOn(server);
      else this.contest.add(server);
    }
  }

  get timers(): number {
    return this.#timers.length;
  }

  online(place: number): Promise<void> {
    this.contest.online(this.servers[place], { ...NETWORK, mtu: 1000 + place });
    return settled();
  }

  ended(place: number, code = 'PEER_SILENT'): Promise<void> {
    void this.contest.ended(this.servers[place], code, 'a reason');
    return settled();
  }

  /** Shards that were told to end have ended. */
  async stopped(...places: number[]): Promise<void> {
    for (const place of places) this.servers[place].end();
    await settled();
  }

  async advance(micros: number): Promise<void> {
    this.#now += micros;
    const due = this.#timers.filter(({ at }) => at <= this.#now);
    this.#timers = this.#timers.filter(({ at }) => at > this.#now);
    for (const { then } of due) then();
    await settled();
  }

  get told(): string[][] {
    return this.servers.map(({ told }) => told);
  }
}

describe('a client that has dialled several servers', () => {
  it('stays with the first that lets it in, tells the others Goodbye, and changes the host when they are gone', async () => {
    const stage = new Stage(3);
    await stage.online(1);
    expect(stage.told).toEqual([['stop'], [], ['stop']]);
    await stage.stopped(0);
    expect(stage.said).toEqual([]);
    await stage.stopped(2);
    expect(stage.said).toEqual(['won 1 1001']);
  });

  it('does not hear of those who come too late', async () => {
    const stage = new Stage(2);
    await stage.online(1);
    await stage.online(0);
    await stage.ended(0);
    await stage.stopped(0);
    await stage.online(0);
    expect(stage.said).toEqual(['won 1 1001']);
    expect(stage.told).toEqual([['stop'], []]);
  });

  it('waits for its favourite as long as it is told, and then takes the earliest in the list', async () => {
    const stage = new Stage(3, 2 * SECOND);
    await stage.online(2);
    await stage.online(1);
    await stage.advance(2 * SECOND - 1);
    expect(stage.told).toEqual([[], [], []]);
    await stage.advance(1);
    expect(stage.told).toEqual([['stop'], [], ['stop']]);
    await stage.stopped(0, 2);
    expect([stage.said, stage.timers]).toEqual([['won 1 1001'], 0]);
  });

  it('waits no longer for a favourite that has failed', async () => {
    const stage = new Stage(2, 2 * SECOND);
    await stage.online(1);
    await stage.ended(0, 'REFUSED_48');
    await stage.stopped(0);
    expect(stage.said).toEqual(['warn [CERT_UNTRUSTED]', 'won 1 1001']);
    expect(stage.told).toEqual([['yield'], []]); // no session to take leave of
    expect(stage.timers).toBe(0);
  });

  it('ends with the error of the last that fails, once its shard is gone', async () => {
    const stage = new Stage(2);
    await stage.ended(1, 'SERVER_REFUSED');
    await stage.ended(0, 'UNAUTHORIZED');
    expect(stage.said).toEqual(['warn [SERVER_REFUSED]']);
    await stage.stopped(0, 1);
    expect(stage.said).toEqual(['warn [SERVER_REFUSED]', 'fatal UNAUTHORIZED']);
  });

  it('ends with the error of the winner, also of one that goes while the others are taking their leave', async () => {
    const late = new Stage(2);
    await late.online(0);
    await late.stopped(1);
    await late.ended(0, 'KEEPALIVE_TIMEOUT');
    await late.stopped(0);
    expect(late.said).toEqual(['won 0 1000', 'fatal SERVER_GONE']);
    const early = new Stage(2);
    await early.online(0);
    await early.ended(0, 'GOODBYE');
    await early.stopped(0, 1);
    expect(early.said).toEqual(['fatal SERVER_CLOSED']);
  });

  it('leaves for a successor with all its shards, in the middle of a race too, and nothing happens afterwards', async () => {
    const stage = new Stage(2, 2 * SECOND);
    await stage.online(1);
    expect(stage.timers).toBe(1);
    void stage.contest.leave('yield');
    expect(stage.timers).toBe(0);
    await stage.online(1); // said before its shard heard of it
    expect(stage.timers).toBe(0);
    await stage.stopped(0, 1);
    await stage.advance(3 * SECOND);
    await stage.ended(1);
    expect(stage.said).toEqual([]);
    expect(stage.told).toEqual([['yield, to be gone on with'], ['yield, to be gone on with']]);
  });

  it('leaves the host alone when it is told to leave while the others are taking their leave', async () => {
    const stage = new Stage(2);
    await stage.online(0);
    void stage.contest.leave('stop');
    await stage.stopped(0, 1);
    expect(stage.said).toEqual([]);
    expect(stage.told).toEqual([['stop'], ['stop']]);
  });

  it('goes on with the session of an engine before it, without a race and without changing the host', async () => {
    const stage = new Stage(1, 0, true);
    await stage.online(0);
    expect([stage.said, stage.contest.shown]).toEqual([[], stage.servers[0]]);
    await stage.ended(0, 'GOODBYE');
    await stage.stopped(0);
    expect(stage.said).toEqual(['fatal SERVER_CLOSED']);
  });

  it('whatever happens: changes the host once at most, for one that has not failed and is alone, and no shard is ended twice', async () => {
    const happening = fc.tuple(fc.constantFrom('online', 'ended', 'stopped', 'advance'), fc.nat(3));
    await fc.assert(
      fc.asyncProperty(fc.array(happening, { maxLength: 30 }), fc.constantFrom(0, SECOND), async (all, wait) => {
        const stage = new Stage(4, wait);
        const failed = new Set<number>();
        for (const [what, place] of all) {
          const before = stage.said.length;
          if (what === 'online' && !failed.has(place)) await stage.online(place);
          if (what === 'ended') await stage.ended(place);
          if (what === 'ended') failed.add(place);
          if (what === 'stopped') await stage.stopped(place);
          if (what === 'advance') await stage.advance(SECOND / 2);
          const won = stage.said.slice(before).find((each) => each.startsWith('won'));
          if (won === undefined) continue;
          const winner = Number(won.split(' ')[1]);
          expect(failed.has(winner)).toBe(false);
          expect(stage.told.every((told, other) => told.length === (other === winner ? 0 : 1))).toBe(true);
        }
        await stage.advance(2 * SECOND);
        await stage.stopped(0, 1, 2, 3);
        await stage.stopped(0, 1, 2, 3);
        for (const kind of ['won', 'fatal'])
          expect(stage.said.filter((each) => each.startsWith(kind)).length).toBeLessThan(2);
        expect(stage.told.every((told) => told.length <= 1)).toBe(true);
        if (failed.size === 4) expect(stage.said.some((each) => /^(?:won|fatal)/.test(each))).toBe(true);
      }),
      { numRuns: 500 },
    );
  });
});
