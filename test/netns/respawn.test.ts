/** A crash and an upgrade are the same path: an engine goes, the next one carries on with the same sessions, without a new handshake. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCredentials } from '../../src/lab/credentials.ts';
import { Lab } from '../../src/lab/hosts.ts';
import { kill, run } from '../../src/lab/programs.ts';
import { RINGWAY, ringway, stateFolder, Tunnel } from '../../src/lab/tunnel.ts';

const TRANSFER_BYTES = 200_000_000;

/** The parts of `ringway status --json` that are looked at here. */
interface Status {
  readonly enginePid: number;
  readonly generation: number;
  readonly deaths: number;
}

describe.each(['UDP with Expresslane', 'UDP with DTLS alone'] as const)('%s', (name) => {
  let lab: Lab;
  let tunnel: Tunnel;

  beforeAll(async () => {
    lab = await Lab.create();
    const credentials = await createCredentials(lab.folder);
    const expresslane = name === 'UDP with Expresslane';
    const [server, client] = [ringway(lab, 'server', ['--shards', '2']), ringway(lab, 'client')];
    tunnel = await Tunnel.start(lab, { mode: 'udp', expresslane, credentials, server, client });
  });
  afterAll(() => lab?.close());

  async function status(end: 'server' | 'client'): Promise<Status> {
    const [only] = JSON.parse(
      await run([RINGWAY, 'status', '--json', '--all', '--state', stateFolder(lab, end)]),
    ) as Status[];
    return only;
  }

  describe.each(['server', 'client'] as const)('the engine of the %s', (end) => {
    it.each(['SIGKILL', 'SIGSEGV'] as const)(
      'dies by %s under traffic: the next one carries the flow to its end',
      async (signal) => {
        const before = await status(end);
        const said = tunnel[end].lines.length;
        const { result } = await tunnel.transferUnderWay('down', TRANSFER_BYTES, 21);
        expect(kill(before.enginePid, signal)).toBe(true);
        await tunnel[end].line(/engine died/, 5_000, said);
        await tunnel[end].line(/engine started/, 5_000, said);
        const { sent, received } = await result;
        expect(received).toBe(sent);
        const after = await status(end);
        expect(after).toMatchObject({ generation: before.generation + 1, deaths: before.deaths + 1 });
        expect(after.enginePid).not.toBe(before.enginePid);
      },
    );

    it('is replaced by `ringway reload` under traffic', async () => {
      const before = await status(end);
      const { result } = await tunnel.transferUnderWay('up', TRANSFER_BYTES, 22);
      await run([RINGWAY, 'reload', '--all', '--state', stateFolder(lab, end)]);
      const { sent, received } = await result;
      expect(received).toBe(sent);
      expect(await status(end)).toMatchObject({ generation: before.generation + 1, deaths: before.deaths });
    });
  });

  it('made one handshake in all', () => {
    const logins = [tunnel.server, tunnel.client].map(
      ({ lines }) => lines.filter((line) => /\bonline\b/i.test(line)).length,
    );
    expect(logins).toEqual([1, 1]);
  });
});
