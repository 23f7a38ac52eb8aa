/** Real engine programs under a real supervisor: what only processes can show. Needs no privileges. */
import { closeSync, openSync, unlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, it } from 'vitest';
import { askStatistics, openControl, type Status } from '../../src/keeper/control.ts';
import { inherit, launcher } from '../../src/keeper/engine-process.ts';
import type { Descriptors, EngineMessage, EngineStart } from '../../src/keeper/protocol.ts';
import { KEEPER_PROTOCOL } from '../../src/keeper/protocol.ts';
import { type Ending, type Start, Supervisor } from '../../src/keeper/supervisor.ts';
import { createFolder } from '../config/folder.ts';

const ENTRY = fileURLToPath(new URL('fixtures/engine.ts', import.meta.url));
const TUN = { name: 'lws', vnetHeader: true, offloads: 0 };

interface Report {
  readonly pid: number;
  readonly engines: number;
  readonly generation: number;
  readonly restart: boolean;
  readonly secretsInEnvironment: readonly string[];
  readonly argv: readonly string[];
  readonly counts: readonly number[];
}

/** A keeper of fixture engines, with a file in the place of session memory. */
class Stage {
  readonly supervisor: Supervisor;
  readonly ended: Promise<Ending>;
  readonly #memory: number;
  readonly #arrived: Report[] = [];
  readonly #waiting: ((report: Report) => void)[] = [];

  constructor(does: string, env: NodeJS.ProcessEnv = {}) {
    const path = join(tmpdir(), `ringway-memory-${process.pid}-${performance.now()}`);
    this.#memory = openSync(path, 'w+');
    unlinkSync(path);
    const table = { public: this.#memory, publicBytes: 1, secret: this.#memory, secretBytes: 1, slots: 1 };
    const descriptors: Descriptors = {
      tun: [this.#memory],
      udp: [-1],
      doors: [],
      tcp: [],
      table,
      steering: null,
      filter: null,
      tunShares: null,
    };
    const { order, theirs } = inherit(descriptors);
    const program = {
      prefix: [],
      node: process.execPath,
      flags: ['--disable-warning=ExperimentalWarning'],
      entry: ENTRY,
    };
    this.supervisor = new Supervisor(this.startOf(theirs), {
      launch: launcher(program, order, { ...process.env, ...env, ENGINE_DOES: does }),
      heard: (message) => this.#heard(message),
      log: { info: () => {}, warn: () => {} },
      now: () => performance.now(),
      after: (ms, then) => {
        const timer = setTimeout(then, ms);
        return () => clearTimeout(timer);
      },
    });
    this.start = this.startOf(theirs);
    this.ended = this.supervisor.run();
  }

  readonly start: Start;

  startOf(descriptors: Descriptors): Start {
    const files = { cert: '', key: 'secret', userDb: null, tokenKey: null };
    return (generation, restart) =>
      ({
        type: 'start',
        version: KEEPER_PROTOCOL,
        role: 'server',
        generation,
        restart,
        descriptors,
        tun: TUN,
        files,
        config: {},
      }) as never as EngineStart;
  }

  /** What the next engine says of itself. */
  report(): Promise<Report> {
    const report = this.#arrived.shift();
    return report ? Promise.resolve(report) : new Promise((resolve) => this.#waiting.push(resolve));
  }

  #heard(message: EngineMessage): void {
    if (message.type !== 'clientOnline') return;
    const report = JSON.parse(message.networkConfig.localIp) as Report;
    const waiting = this.#waiting.shift();
    if (waiting) waiting(report);
    else this.#arrived.push(report);
  }

  async end(): Promise<void> {
    this.supervisor.stop();
    await this.ended;
    closeSync(this.#memory);
  }
}

let stage: Stage | undefined;
afterEach(async () => {
  await stage?.end();
  stage = undefined;
});

describe('an engine process', () => {
  it('inherits its descriptors, and neither secrets nor arguments', async () => {
    stage = new Stage('serve', { LW_CLIENT_PASSWORD: 'secret', LW_SERVER_MODE: 'udp' });
    expect(await stage.report()).toMatchObject({
      generation: 1,
      restart: false,
      secretsInEnvironment: [],
      argv: [],
      counts: [1, 1, 0],
    });
  });

  it.each(['SIGKILL', 'SIGSEGV'] as const)(
    'that ends by %s is followed by one that finds the same memory',
    async (signal) => {
      stage = new Stage('serve');
      const first = await stage.report();
      process.kill(first.pid, signal);
      const second = await stage.report();
      expect(second).toMatchObject({ engines: 2, generation: 2, restart: true });
      expect(second.pid).not.toBe(first.pid);
    },
  );

  it('leaves SIGTERM, SIGINT and SIGHUP to its keeper', async () => {
    stage = new Stage('serve');
    const first = await stage.report();
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.kill(first.pid, signal);
    await stage.supervisor.reload(stage.start);
    expect(await stage.report()).toMatchObject({ generation: 2 });
    expect(stage.supervisor.engine.deaths).toBe(0);
  });

  it('yields to its successor on reload, without a death', async () => {
    stage = new Stage('serve');
    await stage.report();
    await stage.supervisor.reload(stage.start);
    expect(await stage.report()).toMatchObject({ engines: 2, generation: 2, restart: true });
    expect(stage.supervisor.engine.deaths).toBe(0);
  });

  it('stops when told to', async () => {
    stage = new Stage('serve');
    await stage.report();
    stage.supervisor.stop();
    expect(await stage.ended).toEqual({ exitCode: 0 });
  });

  it('that does not stop is killed', async () => {
    stage = new Stage('ignore stop');
    await stage.report();
    stage.supervisor.stop();
    expect(await stage.ended).toEqual({ exitCode: 0 });
  });

  it.each(['throw', 'throw while loading', 'segfault'])(
    'that always does this is given up after five: %s',
    async (does) => {
      stage = new Stage(does);
      expect(await stage.ended).toMatchObject({ exitCode: 1, error: { code: 'ENGINE_DIES' } });
      expect(stage.supervisor.engine.deaths).toBe(5);
    },
  );

  it.each([
    'nonsense',
    'null',
    '{"type":"fatal"}',
    '{"cmd":"NODE_HANDLE","type":"net.Socket"}',
    '{"type":"clientOnline","networkConfig":{"serverAddress":"0.0.0.0/0"}}',
  ])('that says %s is killed and followed by others until five did, and its keeper goes on', async (words) => {
    stage = new Stage(`say ${words}`);
    const { exitCode, error } = await stage.ended;
    expect([exitCode, error?.code]).toEqual([1, 'ENGINE_DIES']);
    expect(error?.message).toMatch(/the last time by what the engine said .* \[ENGINE_MESSAGE\]$/);
  });

  it('tells what it counts through the control socket, and is plainly absent once it is dead', async () => {
    stage = new Stage('serve');
    const { pid } = await stage.report();
    const { supervisor } = stage;
    const folder = createFolder();
    const control = await openControl(folder.path, 'server', async () => ({
      ok: true,
      status: { enginePid: supervisor.engine.pid } as Status,
      statistics: await supervisor.statistics(),
    }));
    try {
      const { statistics } = await askStatistics(control.path);
      expect(statistics).toMatchObject({ at: 1, assignedAddresses: 3, ages: null, shards: [] });
      expect(statistics?.cpuMicros).toBeGreaterThan(statistics?.mainCpuMicros ?? Number.NaN); // V8's own threads
      expect(statistics?.residentBytes).toBeGreaterThan(10_000_000);
      process.kill(pid, 'SIGKILL');
      expect(await supervisor.statistics()).toBeNull(); // asked before the keeper has heard of the death
    } finally {
      control.close();
      folder.remove();
    }
  });

  it('that does not know the question is silent, and its keeper waits no longer than two seconds', async () => {
    stage = new Stage('count nothing');
    await stage.report();
    expect(await stage.supervisor.statistics()).toBeNull();
  });

  it('that reports a fatal error is not followed by another', async () => {
    stage = new Stage('fatal');
    expect(await stage.ended).toMatchObject({
      exitCode: 1,
      error: { code: 'LOGIN_REFUSED', advice: 'check user and password' },
    });
    expect(stage.supervisor.engine.generation).toBe(1);
  });
});

describe('inherit', () => {
  it('numbers descriptors from 4 in the order they are passed, and leaves absent ones absent', () => {
    const table = { public: 70, publicBytes: 1, secret: 71, secretBytes: 1, slots: 1 };
    const { order, theirs } = inherit({
      tun: [50, 51],
      udp: [-1, 60],
      doors: [61, 62],
      tcp: [],
      table,
      steering: { map: 80, entries: 9 },
      filter: { map: 90, entries: 16 },
      tunShares: { map: 95 },
    });
    expect(order).toEqual([50, 51, 60, 61, 62, 70, 71, 80, 90, 95]);
    expect(theirs).toEqual({
      tun: [4, 5],
      udp: [-1, 6],
      doors: [7, 8],
      tcp: [],
      table: { ...table, public: 9, secret: 10 },
      steering: { map: 11, entries: 9 },
      filter: { map: 12, entries: 16 },
      tunShares: { map: 13 },
    });
  });
});
