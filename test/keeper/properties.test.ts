/** Whatever is said to a keeper, or about it, is understood or refused in its own words; whatever dies, it counts right. */
import { createConnection, createServer, isIP } from 'node:net';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { setImmediate as nextPoll } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { RingwayError } from '../../src/errors.ts';
import { listen, parseEngineMessage } from '../../src/keeper/channel.ts';
import { ask, openControl, parseReply, type Status } from '../../src/keeper/control.ts';
import { type EngineProcess, type Exit, inherit } from '../../src/keeper/engine-process.ts';
import { dropPrivileges, type Machine } from '../../src/keeper/privileges.ts';
import { type EngineMessage, type EngineStart, KEEPER_PROTOCOL } from '../../src/keeper/protocol.ts';
import { Supervisor } from '../../src/keeper/supervisor.ts';
import { createFolder, type Folder } from '../config/folder.ts';

const NETWORK = {
  serverAddress: '192.0.2.1',
  localIp: '100.64.0.6',
  peerIp: '100.64.0.5',
  dnsIp: '100.64.0.1',
  mtu: 1350,
};
const MESSAGES: readonly EngineMessage[] = [
  { type: 'hello', version: KEEPER_PROTOCOL, release: '0.1.0' },
  { type: 'ready' },
  { type: 'clientOnline', networkConfig: NETWORK },
  { type: 'statistics', id: 1, statistics: { at: 1 } as never },
  { type: 'fatal', code: 'LOGIN_REFUSED', message: 'no', advice: 'check' },
  { type: 'stopped' },
];
const message = fc.constantFrom(...MESSAGES);

/** A message with one of its fields, at any depth, taken away or made something else. */
const nearly = fc.tuple(message, fc.nat(), fc.option(fc.jsonValue())).map(([whole, place, instead]) => {
  const copy = structuredClone(whole) as Record<string, unknown>;
  const network = copy.networkConfig as Record<string, unknown> | undefined;
  const places = [
    ...Object.keys(copy).map((key) => [copy, key] as const),
    ...Object.keys(network ?? {}).map((key) => [network ?? {}, key] as const),
  ];
  const [map, key] = places[place % places.length];
  if (instead === null) delete map[key];
  else map[key] = instead;
  return JSON.stringify(copy);
});
const anything = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc.json(),
  nearly,
  message.map((one) => JSON.stringify(one)),
);
const lines = anything.map((line) => line.replaceAll('\n', ' '));

const codeOf = (act: () => unknown): string => {
  try {
    act();
    return '';
  } catch (error) {
    if (error instanceof RingwayError) return error.code;
    throw error;
  }
};

describe('a message of an engine', () => {
  it('is one of the protocol with every field that is acted on, or ENGINE_MESSAGE', () => {
    fc.assert(
      fc.property(anything, (line) => {
        let heard: EngineMessage | undefined;
        const code = codeOf(() => {
          heard = parseEngineMessage(line);
        });
        expect(code).toBe(heard ? '' : 'ENGINE_MESSAGE');
        expect(heard?.type ?? 'ready').toSatisfy((type) => MESSAGES.some((one) => one.type === type));
        if (heard?.type === 'clientOnline') expect(isIP(heard.networkConfig.serverAddress)).toBeGreaterThan(0);
        if (heard?.type === 'fatal')
          expect([heard.code, heard.message, heard.advice].map((text) => typeof text)).toEqual(Array(3).fill('string'));
      }),
      { numRuns: 2_000 },
    );
  });

  it('is heard as it was said, in order, however the bytes are cut, up to the first that is none', async () => {
    const said = fc.tuple(fc.array(message, { maxLength: 6 }), fc.option(lines), fc.array(message, { maxLength: 2 }));
    const cuts = fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 });
    await fc.assert(
      fc.asyncProperty(said, cuts, async ([before, wrong, after], sizes) => {
        const isWrong = wrong !== null && codeOf(() => parseEngineMessage(wrong)) !== '';
        const text = (messages: readonly EngineMessage[]) => messages.map((one) => `${JSON.stringify(one)}\n`).join('');
        const bytes = Buffer.from(`${text(before)}${isWrong ? `${wrong}\n` : ''}${text(after)}`);
        const channel = new PassThrough();
        const ended = new Promise((resolve) => channel.once('end', resolve));
        const [heard, refusals]: [EngineMessage[], string[]] = [[], []];
        listen(
          channel,
          (one) => heard.push(one),
          ({ code }) => refusals.push(code),
        );
        for (let at = 0, i = 0; at < bytes.length; at += sizes[i++ % sizes.length])
          channel.write(bytes.subarray(at, at + sizes[i % sizes.length]));
        channel.end();
        await ended;
        expect(refusals).toEqual(isWrong ? ['ENGINE_MESSAGE'] : []);
        expect(heard).toEqual(isWrong ? before : [...before, ...after]);
      }),
    );
  });
});

describe('the control socket', () => {
  const STATUS = { role: 'server', pid: 1, generation: 1 } as Status;
  let folder: Folder;
  beforeAll(() => {
    folder = createFolder();
  });
  afterAll(() => folder.remove());

  it('answers the first line of whatever is asked, once, and asks the keeper nothing it does not know', async () => {
    const asked: string[] = [];
    let meanwhile = async () => {};
    const control = await openControl(folder.path, 'server', async ({ command }) => {
      asked.push(command);
      await meanwhile();
      return { ok: true, status: STATUS };
    });
    /** More is said while the first line is being answered. @returns everything that came back */
    const say = (line: string, more: readonly string[]) =>
      new Promise<string>((resolve) => {
        let heard = '';
        const socket = createConnection(control.path, () => socket.write(`${line}\n`));
        meanwhile = async () => {
          for (const piece of more) {
            await new Promise<void>((written) => socket.write(piece, () => written()));
            await nextPoll(); // it has been read
            await nextPoll();
          }
        };
        socket.on('data', (chunk) => {
          heard += chunk;
        });
        socket.on('close', () => resolve(heard)).on('error', () => {});
      });
    const question = fc.oneof(
      fc.constantFrom('status', 'reload').map((command) => JSON.stringify({ command })),
      lines,
    );
    const further = fc.array(fc.constantFrom('\n', '\n\n', '{"command":"reload"}\n'), { maxLength: 3 });
    try {
      await fc.assert(
        fc.asyncProperty(question, further, async (line, more) => {
          asked.length = 0;
          const reply = JSON.parse(await say(line, more)) as { ok: boolean; code?: string };
          expect(reply.ok ? 'understood' : reply.code).toBe(asked.length === 1 ? 'understood' : 'CONTROL_QUESTION');
          expect(asked.length).toBeLessThanOrEqual(1);
          expect(['status', 'reload', 'statistics', undefined]).toContain(asked[0]);
        }),
        { numRuns: 200 },
      );
    } finally {
      control.close();
    }
  });

  it('gives whoever asks a status or a RingwayError, whatever is at its other end', async () => {
    const path = join(folder.path, 'other.sock');
    let answer = '';
    const server = createServer((socket) => socket.on('error', () => {}).end(answer));
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const yes = JSON.stringify({ ok: true, status: STATUS });
    const no = JSON.stringify({ ok: false, code: 'CONFIG_VALUE', message: 'no', advice: 'mend it' });
    const replies = fc.oneof(
      anything,
      fc.constantFrom(yes, no),
      fc.nat(yes.length).map((end) => yes.slice(0, end)),
    );
    try {
      await fc.assert(
        fc.asyncProperty(replies, fc.boolean(), async (text, whole) => {
          answer = `${text}${whole ? '\n' : ''}`;
          const outcome = await ask(path, { command: 'status' }).catch((error) => error);
          if (outcome instanceof RingwayError)
            expect(outcome.code).toBe(text === no && whole ? 'CONFIG_VALUE' : 'KEEPER_SILENT');
          else expect(outcome).toEqual(parseReply(answer)?.ok && JSON.parse(text).status);
          if (whole && text === yes) expect(outcome).toEqual(STATUS);
        }),
        { numRuns: 200 },
      );
    } finally {
      server.close();
    }
  });
});

const WHOLE = '0 0 4294967295\n';

describe('whom the engine runs as', () => {
  it('is somebody the kernel can be told of, or RUN_AS_UNKNOWN, whatever /etc/passwd and the maps say', () => {
    const id = fc.oneof(
      fc.nat().map(String),
      fc.constantFrom('', '0', '4294967294', '4294967295', '99999999999', '-1', '1e3', 'x'),
    );
    const name = fc.constantFrom('root', 'nobody', 'x', '');
    const entry = fc.oneof(
      fc.tuple(name, fc.constant('x'), id, id).map((fields) => fields.join(':')),
      fc.array(fc.oneof(id, name), { maxLength: 8 }).map((fields) => fields.join(':')),
    );
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(entry).map((all) => all.join('\n')),
    );
    const map = fc.constantFrom(WHOLE, '0 1000 1\n', '', '\n\n', 'a b c', '0 0');
    fc.assert(
      fc.property(fc.oneof(id, name, fc.string()), text, map, (runAs, passwd, ids) => {
        const machine: Machine = {
          uid: 0,
          pid: 77,
          read: (path) => (path === '/etc/passwd' ? passwd : ids),
          stat: () => ({ mode: 0o755, uid: 0, gid: 0 }),
        };
        let user = '';
        const code = codeOf(() => {
          user = dropPrivileges(runAs, '/launcher', ['/engine.ts'], machine).prefix[2];
        });
        if (code !== '') return void expect(code).toBe('RUN_AS_UNKNOWN');
        if (user === 'keep') return void expect(ids).not.toBe(WHOLE);
        expect(user).toMatch(/^\d+:\d+$/);
        for (const each of user.split(':')) expect(Number(each)).toBeLessThan(2 ** 32 - 1);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('inherit', () => {
  it('gives each descriptor a number of its own from 4 on, under which it is passed, and leaves absent ones absent', () => {
    const descriptor = fc.integer({ min: 3, max: 5_000 });
    const some = fc.array(fc.oneof(descriptor, fc.constant(-1)), { maxLength: 8 });
    const mapped = fc.option(fc.record({ map: descriptor, entries: fc.nat() }));
    fc.assert(
      fc.property(
        some,
        some,
        some,
        some,
        descriptor,
        descriptor,
        mapped,
        mapped,
        fc.option(fc.record({ map: descriptor })),
        (tun, udp, doors, tcp, open, secret, steering, filter, tunShares) => {
          const own = {
            tun,
            udp,
            doors,
            tcp,
            table: { public: open, publicBytes: 1, secret, secretBytes: 1, slots: 1 },
            steering,
            filter,
            tunShares,
          };
          const { order, theirs } = inherit(own);
          const flat = (all: typeof theirs) => [
            ...[all.tun, all.udp, all.doors, all.tcp, [all.table.public, all.table.secret]].flat(),
            ...[all.steering, all.filter, all.tunShares].flatMap((each) => (each ? [each.map] : [])),
          ];
          expect(flat(theirs).map((number) => (number < 0 ? number : order[number - 4]))).toEqual(flat(own));
          const numbers = flat(theirs).filter((number) => number >= 0);
          expect(numbers).toEqual(order.map((_, i) => i + 4));
        },
      ),
    );
  });
});

describe('the back-off', () => {
  /** Nobody's promises are waited for: everything that can happen without time passing has happened. */
  const settled = async () => {
    for (let i = 0; i < 20; i++) await Promise.resolve();
  };

  it('waits by the deaths of the last ten seconds, ends at five, and never has two engines or one generation twice', async () => {
    const gaps = fc.array(fc.oneof(fc.integer({ min: 0, max: 600 }), fc.integer({ min: 0, max: 12_000 })), {
      minLength: 1,
      maxLength: 12,
    });
    await fc.assert(
      fc.asyncProperty(gaps, fc.array(fc.boolean(), { minLength: 1 }), async (lives, hellos) => {
        let now = 0;
        let timer: { at: number; then: () => void } | undefined;
        const launched: { at: number; exit: (exit: Exit) => void; say: (message: EngineMessage) => void }[] = [];
        const generations: number[] = [];
        let alive = 0;
        const supervisor = new Supervisor((generation) => ({ type: 'start', generation }) as EngineStart, {
          launch: (say): EngineProcess => {
            expect(++alive).toBe(1);
            let exit: (exit: Exit) => void = () => {};
            const exited = new Promise<Exit>((resolve) => {
              exit = resolve;
            });
            launched.push({ at: now, exit, say });
            return {
              pid: launched.length,
              exited,
              send: (told) => void (told.type === 'start' && generations.push(told.generation)),
              kill: () => exit({ code: null, signal: 'SIGKILL' }),
            };
          },
          heard: () => {},
          log: { info: () => {}, warn: () => {} },
          now: () => now,
          after: (ms, then) => {
            const mine = { at: now + ms, then };
            timer = mine;
            return () => {
              if (timer === mine) timer = undefined;
            };
          },
        });
        let ending: Awaited<ReturnType<Supervisor['run']>> | undefined;
        void supervisor.run().then((how) => {
          ending = how;
        });
        const deaths: number[] = [];
        for (const [i, life] of lives.entries()) {
          const engine = launched[launched.length - 1];
          if (hellos[i % hellos.length]) engine.say({ type: 'hello', version: KEEPER_PROTOCOL, release: '' });
          await settled();
          now += life;
          alive--;
          engine.exit({ code: 1, signal: null });
          await settled();
          deaths.push(now);
          const recent = deaths.filter((death) => now - death < 10_000).length;
          expect(ending?.error?.code).toBe(recent >= 5 ? 'ENGINE_DIES' : undefined);
          if (recent >= 5) break;
          const due = now + [0, 50, 200, 500][recent - 1];
          expect(timer?.at ?? now).toBe(due);
          now = due;
          const then = timer?.then;
          timer = undefined;
          then?.();
          expect(launched).toHaveLength(i + 2);
        }
        expect(generations).toEqual(generations.map((_, i) => i + 1));
        expect(supervisor.engine.deaths).toBe(deaths.length);
      }),
      { numRuns: 300 },
    );
  });
});
