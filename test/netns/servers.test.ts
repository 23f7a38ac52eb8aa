/** A client with several servers dials all at once, stays with one, and takes its leave of the others. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SERVER_OUTSIDE } from '../../src/lab/hosts.ts';
import { kill, type Program, processTree } from '../../src/lab/programs.ts';
import { RINGWAY, ringway, startClient, startServer, Tunnel, type TunnelOptions } from '../../src/lab/tunnel.ts';
import { useLab } from './fixture.ts';

const WITHIN_MS = 40_000;
const TRANSFER_BYTES = 4_000_000;
const FIRST = 27_690;
const SECOND = 27_691;
/** Nothing listens there. */
const NOBODY = 27_692;

/** The list as it stands in the file. */
const listOf = (mode: 'udp' | 'tcp', ...portNumbers: number[]) =>
  `[${portNumbers.map((portNumber) => `{server: "${SERVER_OUTSIDE}:${portNumber}", mode: ${mode}}`).join(', ')}]`;

describe.each(['udp', 'tcp'] as const)('a client with several servers, over %s', (mode) => {
  const fixture = useLab();

  function options(keys: Record<string, string>): TunnelOptions {
    const [server, client] = [ringway(fixture.lab, 'server'), ringway(fixture.lab, 'client', [], keys)];
    return { mode, expresslane: false, credentials: fixture.credentials, server, client };
  }

  /** Beside the usual one, with a device, a pool and a state of its own. */
  function startSecond(): Promise<Program> {
    const keys = {
      bind_address: `0.0.0.0:${SECOND}`,
      tun_name: 'lws2',
      ip_pool: '10.126.0.0/16',
      tun_ip: '10.126.0.1',
      log_level: 'debug',
    };
    const flags = ['--state', join(fixture.lab.folder, 'state-second')];
    return startServer(fixture.lab, {
      ...options({}),
      server: { command: [RINGWAY, 'server'], flags, keys, ready: /keeper: ready/ },
    });
  }

  it('carries traffic with the one that is there, and has dialled both before it heard of either', async () => {
    const tunnel = await Tunnel.start(fixture.lab, options({ servers: listOf(mode, NOBODY, FIRST) }));
    const { sent, received } = await tunnel.transfer('up', TRANSFER_BYTES, 7);
    expect(received).toBe(sent);
    const said = tunnel.client.lines.flatMap(
      (line) => /connecting to|online with|\[SERVER_\w+\]/.exec(line)?.[0] ?? [],
    );
    expect(said.slice(0, 2)).toEqual(['connecting to', 'connecting to']);
    expect(said).toContain('online with');
  });

  it('waits for the first of the list as long as it is told, and then says Goodbye to the second', async () => {
    const first = await startServer(fixture.lab, options({}));
    const second = await startSecond();
    for (const pid of processTree(first.pid)) kill(pid, 'SIGSTOP');
    const keys = { servers: listOf(mode, FIRST, SECOND), preferred_connection_wait_interval: '60s' };
    const client = await startClient(fixture.lab, options(keys));
    await second.line(/ is online/, WITHIN_MS);
    for (const pid of processTree(first.pid)) kill(pid, 'SIGCONT');
    expect(await client.line(/online with/, WITHIN_MS)).toContain(`:${FIRST}`);
    await second.line(/a session has ended/, WITHIN_MS);
    expect(client.running).toBe(true);
  });

  it('ends with the error of a server when none is there', async () => {
    const client = await startClient(fixture.lab, options({ servers: listOf(mode, NOBODY, NOBODY + 1) }));
    const { code } = await client.end(WITHIN_MS);
    await client.exited;
    expect(code).toBe(1);
    const expected = mode === 'udp' ? 'SERVER_SILENT' : 'SERVER_REFUSED';
    const codes = client.lines.flatMap((line) => /\[(SERVER_\w+)\]/.exec(line)?.[1] ?? []);
    expect(codes).toEqual([expected, expected]); // one gives way to the other, which is the end
  });
});
