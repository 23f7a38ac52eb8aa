/** The sink, listening: nothing that is written to its control port ends it, or keeps the next loader from its run. */
import { once } from 'node:events';
import net from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Channel, connectSink } from '../../src/load/channel.ts';
import { type FromSink, SINK_PROTOCOL, type ToSink } from '../../src/load/messages.ts';
import { readScenario } from '../../src/load/scenario.ts';
import { runSink } from '../../src/load/sink.ts';
import { createFolder } from '../config/folder.ts';

const folder = createFolder();
const path = join(folder.path, 'control');
const said: string[] = [];
const stop = Promise.withResolvers<void>();
let ended: Promise<void>;

beforeAll(async () => {
  const listening = Promise.withResolvers<void>();
  const complain = (line: string) => said.push(line);
  const options = { address: '127.0.0.1', portNumber: 0, control: `unix:${path}`, io: 'epoll', complain } as const;
  ended = runSink(options, stop.promise, listening.resolve);
  await Promise.race([ended, listening.promise]);
});
afterAll(async () => {
  stop.resolve();
  await ended;
  folder.remove();
});

const begin: ToSink = {
  type: 'begin',
  protocol: SINK_PROTOCOL,
  run: 7,
  scenario: readScenario('download', { clients: '2' }),
  echoEvery: 0,
  tickMs: 10,
};

const loader = () => connectSink(`unix:${path}`);
const next = (channel: Channel<FromSink, ToSink>, type?: FromSink['type']) =>
  new Promise<FromSink>((resolve) => {
    channel.hear = (message) => {
      if (type === undefined || message.type === type) resolve(message);
    };
  });

async function close(channel: Channel<FromSink, ToSink>): Promise<void> {
  channel.close();
  await channel.closed;
}

/** Everything the sink answers before it closes. */
async function write(lines: string): Promise<string> {
  const socket = net.connect(path);
  let heard = '';
  socket.setEncoding('utf8').on('data', (text: string) => {
    heard += text;
  });
  socket.on('error', () => {}); // closed while it was written to
  socket.write(lines);
  await new Promise((resolve) => socket.on('close', resolve));
  return heard;
}

describe('the control port of a sink', () => {
  it.each([
    ['null', 'null\n', /no message of the load lab/],
    [
      'a begin whose clients are a word',
      `${JSON.stringify({ ...begin, scenario: { ...begin.scenario, clients: 'x' } })}\n`,
      /scenario\.clients: .*number/,
    ],
    ['no JSON', 'GET / HTTP/1.1\r\n\r\n', /no JSON/],
    ['a line without end', 'x'.repeat(200_000), /a line without end/],
  ])('closes the connection of whoever writes %s, says so once, and serves the next', async (_name, lines, why) => {
    said.length = 0;
    expect(await write(lines)).toBe('');
    expect(said).toEqual([
      expect.stringMatching(/^sink: closed the control connection of a program of this machine: /),
    ]);
    expect(said[0]).toMatch(why);
    const channel = await loader();
    channel.say(begin);
    expect(await next(channel)).toMatchObject({ type: 'ready', pid: process.pid });
    await close(channel);
  });

  it('ends a run at such a line, and no other', async () => {
    const channel = await loader();
    channel.say(begin);
    await next(channel, 'tick');
    await write('{"type":"finish","more":1}\n');
    expect(await next(channel, 'tick')).toMatchObject({ sinceStart: null });
    await close(channel);
  });

  it('refuses a second run, another protocol, and a second begin, each with why', async () => {
    const channel = await loader();
    channel.say(begin);
    await next(channel, 'ready');
    expect(await write(`${JSON.stringify(begin)}\n`)).toContain('another run is under way');
    expect(await write(`${JSON.stringify({ ...begin, protocol: 1 })}\n`)).toContain('speaks protocol');
    channel.say(begin);
    expect(await next(channel, 'refused')).toMatchObject({ message: 'a connection is for one run' });
    await close(channel);
  });

  it('is not held by connections that say nothing', async () => {
    const idle = [net.connect(path), net.connect(path)];
    await Promise.all(idle.map((socket) => once(socket, 'connect')));
    const channel = await loader();
    channel.say(begin);
    expect(await next(channel)).toMatchObject({ type: 'ready' });
    for (const socket of idle) socket.destroy();
    await close(channel);
  });

  it('tells how long its traffic has been due, until it is stopped', async () => {
    const channel = await loader();
    channel.say(begin);
    await next(channel, 'ready');
    channel.say({ type: 'go', spacing: 1_000, warmup: 0, duration: 60e6 });
    const tick = await new Promise<Extract<FromSink, { type: 'tick' }>>((resolve) => {
      channel.hear = (message) => {
        if (message.type === 'tick' && message.sinceStart !== null) resolve(message);
      };
    });
    expect(tick.sinceStart).toBeGreaterThanOrEqual(0);
    channel.say({ type: 'stop' });
    await new Promise<void>((resolve) => {
      channel.hear = (message) => {
        if (message.type === 'tick' && message.sinceStart === null) resolve();
      };
    });
    await close(channel);
  });
});
