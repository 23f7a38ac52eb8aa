/** The control connection against whoever reaches its port: what is no message costs the connection, and nothing else. */
import { duplexPair } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Channel } from '../../src/load/channel.ts';
import {
  type FromSink,
  fromSink,
  type Hearing,
  LOADER_HEARS,
  SINK_HEARS,
  type ToSink,
  toSink,
} from '../../src/load/messages.ts';
import { readScenario } from '../../src/load/scenario.ts';
import { emptySnapshot, sparse } from '../../src/load/snapshots.ts';

const begin: ToSink = {
  type: 'begin',
  protocol: 2,
  run: 7,
  scenario: readScenario('download', { clients: '3', size: 'imix' }),
  echoEvery: 50,
  tickMs: 250,
};
const go: ToSink = { type: 'go', spacing: 10.8, warmup: 1e6, duration: 1e6 };
const snapshot = { ...sparse(emptySnapshot()), port: { trainsIn: 3 }, at: 12.5 };
const FROM_LOADER: ToSink[] = [begin, go, { type: 'stop' }, { type: 'finish' }];
const FROM_SINK: FromSink[] = [
  { type: 'ready', portNumber: 5201, boot: 'f3b1', pid: 4711 },
  { type: 'refused', message: 'busy' },
  { type: 'tick', known: 3, sinceStart: null, snapshot },
  { type: 'result', sent: [1], received: [2], measuredBytes: [3], snapshot },
];

interface Heard<In> {
  readonly messages: In[];
  readonly why: string | undefined;
}

/** What an end hears of bytes, however they are cut, and why it closed. */
async function hear<In>(hearing: Hearing<In>, bytes: Buffer, cuts: readonly number[] = []): Promise<Heard<In>> {
  const [here, there] = duplexPair({ allowHalfOpen: false }); // as sockets are
  const channel = new Channel<In, never>(here, hearing);
  const messages: In[] = [];
  channel.hear = (message) => messages.push(message);
  there.on('error', () => {}).resume();
  const ends = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  for (const [i, end] of [...ends, bytes.length].entries()) there.write(bytes.subarray(ends[i - 1] ?? 0, end));
  there.end();
  return { why: await channel.closed, messages };
}

const text = (lines: readonly string[]) => Buffer.from(lines.map((line) => `${line}\n`).join(''));

/** A message with one value, somewhere in it, replaced; or a key added. */
function spoiled(messages: readonly object[]): fc.Arbitrary<string> {
  const junk = fc.oneof(fc.jsonValue(), fc.constantFrom<unknown>(-1, 0.5, 2 ** 53, 'x', null, [], {}));
  return fc
    .tuple(fc.constantFrom(...messages), fc.nat(), fc.option(fc.string()), junk)
    .map(([message, at, key, value]) => {
      const copy = structuredClone(message) as Record<string, unknown>;
      const places: [Record<string, unknown>, string][] = [];
      const walk = (of: Record<string, unknown>): void => {
        for (const [name, inner] of Object.entries(of)) {
          places.push([of, name]);
          if (typeof inner === 'object' && inner !== null) walk(inner as Record<string, unknown>);
        }
      };
      walk(copy);
      const [of, name] = places[at % places.length];
      of[key ?? name] = value;
      return JSON.stringify(copy);
    });
}

const lines = (messages: readonly object[]) =>
  fc.array(
    fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom(...messages.map((message) => JSON.stringify(message))) },
      { weight: 2, arbitrary: spoiled(messages) },
      fc.json(),
      fc.string().map((line) => line.replaceAll('\n', ' ')),
    ),
    { maxLength: 6 },
  );

/** Every line up to the first that is no message. */
function expected<In>(all: readonly string[], schema: Hearing<In>['schema']): { messages: In[]; good: boolean } {
  const messages: In[] = [];
  for (const line of all) {
    try {
      messages.push(schema.parse(JSON.parse(line)));
    } catch {
      return { messages, good: false };
    }
  }
  return { messages, good: true };
}

describe.each([
  ['the sink', SINK_HEARS as Hearing<unknown>, FROM_LOADER],
  ['the loader', LOADER_HEARS as Hearing<unknown>, FROM_SINK],
])('%s', (_who, hearing, messages) => {
  it('hears every message whole, wherever the stream was cut', async () => {
    const all = text(messages.map((message) => JSON.stringify(message)));
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(all.length), { maxLength: 20 }), async (cuts) => {
        expect(await hear(hearing, all, cuts)).toEqual({ messages, why: undefined });
      }),
      { numRuns: 50 },
    );
  });

  it('closes at the first line that is no message, whatever that is, says why in plain letters, and hears nothing after it', async () => {
    await fc.assert(
      fc.asyncProperty(lines(messages), fc.array(fc.nat(10_000), { maxLength: 5 }), async (all, cuts) => {
        const wanted = expected(all, hearing.schema);
        const { messages: heard, why } = await hear(hearing, text(all), cuts);
        expect(heard).toEqual(wanted.messages);
        if (wanted.good) expect(why).toBeUndefined();
        else expect(why).toMatch(/^[ -~]{1,300}$/);
      }),
      { numRuns: 300 },
    );
  });

  it('closes at any bytes that are no lines of it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
        const { messages: heard, why } = await hear(hearing, Buffer.concat([bytes, Buffer.from('\n')]));
        expect(heard).toEqual([]);
        expect(why).toBeDefined();
      }),
    );
  });

  it('closes at a line that does not end, or ends too late', async () => {
    const long = ' '.repeat(hearing.longestLine);
    expect((await hear(hearing, Buffer.from(`${long} `))).why).toBe('a line without end');
    const late = await hear(hearing, Buffer.from(`${long}${JSON.stringify(messages[1])}\n`));
    expect(late.messages).toEqual([]);
    expect(late.why).toMatch(/^a line/);
  });

  it('closes when the other end does not read what it is told', async () => {
    const [here, there] = duplexPair();
    const channel = new Channel<unknown, unknown>(here, hearing);
    for (let told = 0; told < 40; told++) channel.say({ words: 'x'.repeat(1 << 20) });
    expect(await channel.closed).toBe('it does not read what it is told');
    there.destroy();
  });
});

describe('a message', () => {
  it.each([
    ['null', null],
    ['clients that are no number', { ...begin, scenario: { ...begin.scenario, clients: 'x' } }],
    ['more clients than there may be', { ...begin, scenario: { ...begin.scenario, clients: 10_001 } }],
    ['more sizes than the addon holds', { ...begin, scenario: { ...begin.scenario, sizes: Array(65).fill(64) } }],
    ['a run of 33 bits', { ...begin, run: 2 ** 32 }],
    ['ticks without a pause', { ...begin, tickMs: 0 }],
    ['times that the addon does not take', { ...go, warmup: 1e15 }],
    ['trains before the start', { ...go, spacing: -1 }],
    ['another type', { type: 'toString' }],
  ])('to the sink is refused: %s', (_name, message) => {
    expect(toSink.safeParse(message).success).toBe(false);
  });

  it.each([
    ['totals that are missing', { ...snapshot, totals: {} }],
    ['half a packet', { ...snapshot, totals: { ...snapshot.totals, offered: 0.5 } }],
    ['buckets below zero', { ...snapshot, histograms: { ...snapshot.histograms, oneWay: [-1, 1] } }],
    ['no histograms', { ...snapshot, histograms: {} }],
  ])('to the loader is refused: %s', (_name, wrong) => {
    expect(fromSink.safeParse({ type: 'tick', known: 0, sinceStart: 0, snapshot: wrong }).success).toBe(false);
  });
});
