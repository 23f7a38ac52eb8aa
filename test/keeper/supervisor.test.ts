import { describe, expect, it } from 'vitest';
import type { RingwayError } from '../../src/errors.ts';
import type { EngineProcess, Exit } from '../../src/keeper/engine-process.ts';
import {
  type EngineMessage,
  type EngineStart,
  KEEPER_PROTOCOL,
  type KeeperMessage,
} from '../../src/keeper/protocol.ts';
import { type Ending, Supervisor } from '../../src/keeper/supervisor.ts';
import type { EngineStatistics } from '../../src/observe/statistics.ts';

const HELLO: EngineMessage = { type: 'hello', version: KEEPER_PROTOCOL, release: 'test' };
const CRASH: Exit = { code: null, signal: 'SIGSEGV' };
const DONE: Exit = { code: 0, signal: null };

/** An engine that does what the test says, and remembers what it was told. */
class Puppet implements EngineProcess {
  readonly pid: number;
  readonly told: KeeperMessage[] = [];
  readonly exited: Promise<Exit>;
  readonly say: (message: EngineMessage) => void;
  #exit: (exit: Exit) => void = () => {};

  constructor(pid: number, heard: (message: EngineMessage) => void) {
    this.pid = pid;
    this.say = heard;
    this.exited = new Promise((resolve) => {
      this.#exit = resolve;
    });
  }

  send(message: KeeperMessage): void {
    this.told.push(message);
  }

  kill(): void {
    this.#exit({ code: null, signal: 'SIGKILL' });
  }

  get generation(): number | undefined {
    return this.told.find((message) => message.type === 'start')?.generation;
  }

  async exit(exit: Exit): Promise<void> {
    this.#exit(exit);
    await settled();
  }

  async hello(): Promise<void> {
    this.say(HELLO);
    await settled();
  }
}

/** Everything that can happen without time passing has happened. */
async function settled(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

class Stage {
  readonly puppets: Puppet[] = [];
  readonly supervisor: Supervisor;
  readonly ended: Promise<Ending>;
  ending: Ending | undefined;
  #now = 0;
  #timers: { at: number; then: () => void }[] = [];

  constructor() {
    const start = (config: string) => (generation: number, restart: boolean) =>
      ({ type: 'start', generation, restart, config }) as never as EngineStart;
    this.supervisor = new Supervisor(start('first'), {
      launch: (heard) => {
        const puppet = new Puppet(1000 + this.puppets.length, heard);
        this.puppets.push(puppet);
        return puppet;
      },
      heard: () => {},
      log: { info: () => {}, warn: () => {} },
      now: () => this.#now,
      after: (ms, then) => {
        const timer = { at: this.#now + ms, then };
        this.#timers.push(timer);
        return () => {
          this.#timers = this.#timers.filter((other) => other !== timer);
        };
      },
    });
    this.startOf = start;
    this.ended = this.supervisor.run();
    void this.ended.then((ending) => {
      this.ending = ending;
    });
  }

  readonly startOf: (config: string) => (generation: number, restart: boolean) => EngineStart;

  get last(): Puppet {
    return this.puppets[this.puppets.length - 1];
  }

  async advance(ms: number): Promise<void> {
    this.#now += ms;
    const due = this.#timers.filter(({ at }) => at <= this.#now);
    this.#timers = this.#timers.filter(({ at }) => at > this.#now);
    for (const { then } of due) then();
    await settled();
  }
}

describe('Supervisor', () => {
  it('starts an engine once its code is loaded, as generation 1 and no restart', async () => {
    const stage = new Stage();
    expect(stage.last.told).toEqual([]);
    await stage.last.hello();
    expect(stage.last.told).toMatchObject([{ type: 'start', generation: 1, restart: false }]);
  });

  it('replaces an engine that died at once, with the next generation, as a restart', async () => {
    const stage = new Stage();
    await stage.last.hello();
    await stage.last.exit(CRASH);
    expect(stage.puppets).toHaveLength(2);
    await stage.last.hello();
    expect(stage.last.told).toMatchObject([{ type: 'start', generation: 2, restart: true }]);
    expect(stage.supervisor.engine).toEqual({ pid: 1001, generation: 2, deaths: 1 });
  });

  it('waits longer with each death, and gives up at five within ten seconds', async () => {
    const stage = new Stage();
    for (const wait of [0, 50, 200, 500]) {
      const engines = stage.puppets.length;
      await stage.last.hello();
      await stage.last.exit(CRASH);
      if (wait > 0) {
        await stage.advance(wait - 1);
        expect(stage.puppets).toHaveLength(engines);
        await stage.advance(1);
      }
      expect(stage.puppets).toHaveLength(engines + 1);
    }
    await stage.last.exit(CRASH);
    expect(stage.ending).toMatchObject({ exitCode: 1, error: { code: 'ENGINE_DIES' } });
    expect(stage.puppets).toHaveLength(5);
  });

  it('forgets deaths of more than ten seconds ago', async () => {
    const stage = new Stage();
    for (let death = 0; death < 20; death++) {
      await stage.last.hello();
      await stage.advance(10_000);
      await stage.last.exit(CRASH);
    }
    expect(stage.ending).toBeUndefined();
    expect(stage.puppets).toHaveLength(21);
  });

  it('counts an exit nobody asked for as a death, whatever its code', async () => {
    const stage = new Stage();
    await stage.last.hello();
    await stage.last.exit(DONE);
    expect(stage.puppets).toHaveLength(2);
  });

  it('ends with exit code 1 and the reason when the engine says that none would fare better', async () => {
    const stage = new Stage();
    await stage.last.hello();
    stage.last.say({ type: 'fatal', code: 'LOGIN_REFUSED', message: 'no', advice: 'check' });
    await stage.last.exit({ code: 1, signal: null });
    expect(stage.ending).toMatchObject({ exitCode: 1, error: { code: 'LOGIN_REFUSED', advice: 'check' } });
    expect(stage.puppets).toHaveLength(1);
  });

  it('kills an engine that says so and stays', async () => {
    const stage = new Stage();
    await stage.last.hello();
    stage.last.say({ type: 'fatal', code: 'LOGIN_REFUSED', message: 'no', advice: 'check' });
    await stage.advance(400);
    expect(stage.ending?.error?.code).toBe('LOGIN_REFUSED');
  });

  it('refuses an engine of another protocol version', async () => {
    const stage = new Stage();
    stage.last.say({ type: 'hello', version: KEEPER_PROTOCOL + 1, release: 'later' });
    await settled();
    expect(stage.ending).toMatchObject({ exitCode: 1, error: { code: 'ENGINE_VERSION' } });
  });
});

describe('Supervisor.statistics', () => {
  const COUNTED = { at: 5, cpuMicros: 3 } as never as EngineStatistics;

  it("gives the engine's answer to the question it belongs to", async () => {
    const stage = new Stage();
    await stage.last.hello();
    const [first, second] = [stage.supervisor.statistics(), stage.supervisor.statistics()];
    const [, one, two] = stage.last.told as { type: string; id: number }[];
    expect([one.type, two.type]).toEqual(['statistics', 'statistics']);
    stage.last.say({ type: 'statistics', id: two.id, statistics: { ...COUNTED, at: 6 } });
    stage.last.say({ type: 'statistics', id: one.id, statistics: COUNTED });
    expect(await first).toMatchObject({ at: 5 });
    expect(await second).toMatchObject({ at: 6 });
  });

  it('is null before the first engine has started, after a death, and from one that dies with the question', async () => {
    const stage = new Stage();
    expect(await stage.supervisor.statistics()).toBeNull();
    await stage.last.hello();
    const asked = stage.supervisor.statistics();
    await stage.last.exit(CRASH);
    expect(await asked).toBeNull();
    expect(await stage.supervisor.statistics()).toBeNull();
  });

  it('is null after two seconds of silence, and an answer that comes later is no concern of the next question', async () => {
    const stage = new Stage();
    await stage.last.hello();
    let answer: EngineStatistics | null | undefined;
    void stage.supervisor.statistics().then((given) => {
      answer = given;
    });
    await stage.advance(1_999);
    expect(answer).toBeUndefined();
    await stage.advance(1);
    expect(answer).toBeNull();
    const next = stage.supervisor.statistics();
    const [, late, asked] = stage.last.told as { id: number }[];
    stage.last.say({ type: 'statistics', id: late.id, statistics: COUNTED });
    stage.last.say({ type: 'statistics', id: asked.id, statistics: { ...COUNTED, at: 7 } });
    expect(await next).toMatchObject({ at: 7 });
  });
});

describe('Supervisor.stop', () => {
  it('asks the engine and ends with exit code 0 when it is gone', async () => {
    const stage = new Stage();
    await stage.last.hello();
    stage.supervisor.stop();
    expect(stage.last.told.at(-1)).toEqual({ type: 'stop' });
    expect(stage.ending).toBeUndefined();
    await stage.last.exit(DONE);
    expect(stage.ending).toEqual({ exitCode: 0 });
  });

  it('kills after 400 ms what does not answer, and still ends with 0', async () => {
    const stage = new Stage();
    await stage.last.hello();
    stage.supervisor.stop();
    await stage.advance(399);
    expect(stage.ending).toBeUndefined();
    await stage.advance(1);
    expect(stage.ending).toEqual({ exitCode: 0 });
  });

  it('called twice ends at once', async () => {
    const stage = new Stage();
    await stage.last.hello();
    stage.supervisor.stop();
    stage.supervisor.stop();
    await settled();
    expect(stage.ending).toEqual({ exitCode: 0 });
  });

  it('before the engine has loaded ends at once, and between two engines too', async () => {
    const early = new Stage();
    early.supervisor.stop();
    await settled();
    expect(early.ending).toEqual({ exitCode: 0 });

    const between = new Stage();
    for (let death = 0; death < 2; death++) await between.last.exit(CRASH);
    between.supervisor.stop();
    await settled();
    expect(between.ending).toEqual({ exitCode: 0 });
    await between.advance(1_000);
    expect(between.puppets).toHaveLength(2);
  });
});

describe('Supervisor.reload', () => {
  it('loads the successor beside the engine, has that one yield, then starts the successor', async () => {
    const stage = new Stage();
    const [first] = stage.puppets;
    await first.hello();
    const reloaded = stage.supervisor.reload(stage.startOf('second'));
    const [, second] = stage.puppets;
    expect(first.told).toHaveLength(1);
    await second.hello();
    expect(first.told.at(-1)).toEqual({ type: 'yield' });
    expect(second.told).toEqual([]); // never two at once on the same descriptors
    await first.exit(DONE);
    expect(second.told).toMatchObject([{ type: 'start', generation: 2, restart: true, config: 'second' }]);
    second.say({ type: 'ready' });
    await reloaded;
    expect(stage.supervisor.engine).toEqual({ pid: 1001, generation: 2, deaths: 0 });
  });

  it('kills an engine that does not yield within a second', async () => {
    const stage = new Stage();
    await stage.last.hello();
    void stage.supervisor.reload(stage.startOf('second'));
    await stage.puppets[1].hello();
    await stage.advance(1_000);
    expect(stage.puppets[1].generation).toBe(2);
  });

  it('leaves the engine in place when the successor does not load', async () => {
    const stage = new Stage();
    await stage.last.hello();
    const reloaded = stage.supervisor.reload(stage.startOf('second')).catch((error: RingwayError) => error.code);
    await stage.puppets[1].exit({ code: 1, signal: null });
    expect(await reloaded).toBe('RELOAD_FAILED');
    expect(stage.puppets[0].told).toHaveLength(1);
    expect(stage.supervisor.engine).toMatchObject({ pid: 1000, generation: 1 });
    expect(stage.puppets).toHaveLength(2);
  });

  it('carries on with the old configuration when the successor never loaded', async () => {
    const stage = new Stage();
    await stage.last.hello();
    const reloaded = stage.supervisor.reload(stage.startOf('second')).catch(() => {});
    await stage.puppets[1].exit(CRASH);
    await reloaded;
    await stage.puppets[0].exit(CRASH);
    await stage.last.hello();
    expect(stage.last.told).toMatchObject([{ config: 'first' }]);
  });

  it('starts another when the successor dies before it is ready', async () => {
    const stage = new Stage();
    await stage.last.hello();
    const reloaded = stage.supervisor.reload(stage.startOf('second')).catch((error: RingwayError) => error.code);
    await stage.puppets[1].hello();
    await stage.puppets[0].exit(DONE);
    await stage.puppets[1].exit(CRASH);
    expect(await reloaded).toBe('RELOAD_FAILED');
    expect(stage.puppets).toHaveLength(3);
    await stage.last.hello();
    expect(stage.last.told).toMatchObject([{ generation: 3, config: 'second' }]);
  });

  it('takes over from an engine that dies meanwhile', async () => {
    const stage = new Stage();
    await stage.last.hello();
    void stage.supervisor.reload(stage.startOf('second'));
    await stage.puppets[0].exit(CRASH);
    expect(stage.puppets).toHaveLength(2);
    await stage.puppets[1].hello();
    expect(stage.puppets[1].generation).toBe(2);
  });

  it('is one at a time', async () => {
    const stage = new Stage();
    await stage.last.hello();
    void stage.supervisor.reload(stage.startOf('second'));
    await expect(stage.supervisor.reload(stage.startOf('third'))).rejects.toMatchObject({ code: 'RELOAD_BUSY' });
  });

  it('gives way to a stop: no engine is left', async () => {
    const stage = new Stage();
    await stage.last.hello();
    const reloaded = stage.supervisor.reload(stage.startOf('second')).catch(() => {});
    await stage.puppets[1].hello();
    stage.supervisor.stop();
    await stage.puppets[0].exit(DONE);
    await reloaded;
    expect(stage.ending).toEqual({ exitCode: 0 });
    expect((await stage.puppets[1].exited).signal).toBe('SIGKILL');
    expect(stage.puppets[1].told).toEqual([]);
  });

  it('a fatal successor ends the reload alone', async () => {
    const stage = new Stage();
    await stage.last.hello();
    const reloaded = stage.supervisor.reload(stage.startOf('second')).catch((error: RingwayError) => error.code);
    stage.puppets[1].say({ type: 'fatal', code: 'CERTIFICATE', message: 'no', advice: 'check' });
    await stage.puppets[1].exit({ code: 1, signal: null });
    expect(await reloaded).toBe('RELOAD_FAILED');
    expect(stage.ending).toBeUndefined();
  });
});
