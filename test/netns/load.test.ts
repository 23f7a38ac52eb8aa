/** `ringway load --self`, whole: server, sink and loader in namespaces, real sessions. Packets and verdicts, not speed. */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, it } from 'vitest';
import { outcomeOf, Program } from '../../src/lab/programs.ts';
import { RINGWAY } from '../../src/lab/tunnel.ts';
import { type DirectionResult, type Result, readResult } from '../../src/load/result.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ringway-load-'));
});
afterAll(() => rm(folder, { recursive: true }));

const SMALL = ['--self', '--clients', '8', '--rate', '2M', '--duration', '1s', '--warmup', '200ms'];

async function load(words: readonly string[]): Promise<{ result: Result; code: number; stdout: string }> {
  const file = join(folder, 'result.json');
  const { code, stdout, stderr } = await outcomeOf([RINGWAY, 'load', ...words, '--json', file], 90_000);
  ok(code === 0 || code === 99, stderr);
  return { result: readResult(file), code, stdout };
}

async function namespaces(): Promise<string[]> {
  return (await outcomeOf(['ip', 'netns', 'list'])).stdout.match(/rw-\d+-\d+-\w+/g) ?? [];
}

/** Offered at the rate asked for, and every packet delivered exactly once, or accounted for. */
function carried(way: DirectionResult | null): void {
  ok(way);
  ok(Math.abs(way.offeredBits / 16e6 - 1) < 0.1, `offered ${way.offeredBits}`);
  equal(way.unexplained, 0);
  equal(way.duplicates, 0);
  ok(way.delivered > 0.9 * way.offered, `${way.delivered} of ${way.offered}`);
  ok(way.fairness > 0.9);
  ok((way.latency?.p99 ?? 0) > 0);
}

describe('ringway load --self', () => {
  it('upload over UDP with Expresslane: trains arrive as trains, every packet is accounted for', async () => {
    const { result } = await load(['upload', ...SMALL, '--burst', '16']);
    equal(result.clients.online, 8);
    carried(result.uplink);
    ok((result.uplink?.trainReceived ?? 0) > 8);
    ok(
      (result.shards[0]?.udpDatagramsIn ?? 0) + (result.shards[1]?.udpDatagramsIn ?? 0) >=
        (result.uplink?.delivered ?? 0),
    );
  });

  it('mixed over DTLS alone, sizes mixed: both ways', async () => {
    const { result } = await load(['mixed', ...SMALL, '--expresslane', 'off', '--size', 'imix', '--burst', '4']);
    carried(result.uplink);
    carried(result.downlink);
  });

  it('mixed over TCP: both ways', async () => {
    const { result } = await load(['mixed', ...SMALL, '--transport', 'tcp']);
    carried(result.uplink);
    carried(result.downlink);
  });

  it('two loader threads share the clients: each is served from both, and every packet is accounted for', async () => {
    const { result } = await load(['mixed', ...SMALL, '--threads', '2', '--addresses', '3']);
    carried(result.uplink);
    carried(result.downlink);
    equal(result.clients.online, 8);
    ok(result.uplink?.clientBits.length === 8 && result.uplink.clientBits.every((bits) => bits > 0));
    deepEqual([result.configuration['loader threads'], result.configuration['client addresses']], ['2', '3']);
  });

  it('windows carry more than the streams did, and lose little', async () => {
    const words = ['upload', ...SMALL, '--traffic', 'window', '--rate', 'max', '--burst', '8'];
    const { result } = await load(words);
    ok((result.uplink?.goodputBits ?? 0) > 32e6);
    ok((result.uplink?.delivered ?? 0) > 0.8 * (result.uplink?.offered ?? 0));
    equal(result.uplink?.unexplained, 0);
  });

  it('download of more than any sink can make is behind its schedule, not valid, and every packet is accounted for', async () => {
    const words = ['download', ...SMALL, '--rate', '50G', '--burst', '16', '--fail-if', 'lag>1%'];
    const { result, code } = await load(words);
    equal(code, 99);
    ok((result.generator.lag ?? 0) > 0.5);
    ok(result.invalid.some((why) => why.startsWith('the sink was behind its schedule')));
    equal(result.uplink, null);
    ok(result.downlink && result.downlink.delivered > 0);
    equal(result.downlink.unexplained, 0);
  });

  it('ends with 99 when a threshold is passed, and says which', async () => {
    const { code, stdout } = await load(['upload', ...SMALL, '--fail-if', 'loss>99%', '--fail-if', 'p99>1us']);
    equal(code, 99);
    ok(stdout.includes('✗ fail if p99>1us'));
    ok(stdout.includes('✓ fail if loss>99%'));
  });

  it('writes a report of one file, and no password', async () => {
    const report = join(folder, 'report.html');
    const { result } = await load([
      'upload',
      ...SMALL,
      '--report',
      report,
      '--password',
      'hunter2',
      '--password=hunter2',
    ]);
    const html = readFileSync(report, 'utf8');
    ok(html.includes('Where the packets went'));
    ok(result.command.endsWith(`--password … --password=… --json ${join(folder, 'result.json')}`), result.command);
    for (const text of [html, JSON.stringify(result)]) ok(!text.includes('hunter2'));
  });

  it('interrupted, still reports what it measured, and leaves no namespace behind', async () => {
    const before = await namespaces(); // what others left is not this command's
    const file = join(folder, 'early.json');
    const words = ['load', 'upload', '--self', '--clients', '4', '--rate', '1M', '--duration', '60s', '--json', file];
    const program = new Program('load', [RINGWAY, ...words]);
    await program.line(/measuring/, 60_000);
    process.kill(-program.pid, 'SIGINT'); // as a terminal does: the group of the command
    equal((await program.end(30_000)).code, 0);
    const result = readResult(file);
    equal(result.endedEarly, true);
    ok(result.measuredSeconds < 30);
    carriedEarly(result);
    deepEqual(await namespaces(), before);
  });
});

function carriedEarly({ uplink }: Result): void {
  ok(uplink && uplink.delivered > 0);
  equal(uplink.unexplained, 0);
}
