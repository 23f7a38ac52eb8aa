/** The lab itself, on plain veth: what the other files here conclude is worth as much as this. */
import { readdirSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { Lab, NET_ADDRESS } from '../../src/lab/hosts.ts';
import { cpuSeconds, outcomeOf, Program, processTree } from '../../src/lab/programs.ts';
import type { QueryResult, TransferResult } from '../../src/lab/transfer.ts';
import { startService, transferCommand } from '../../src/lab/tunnel.ts';

let lab: Lab | undefined;
afterEach(async () => {
  await lab?.close();
  lab = undefined;
});

/** A lab whose client reaches the net by plain routing. */
async function routedLab(): Promise<Lab> {
  lab = await Lab.create();
  await lab.client.run('ip', 'route', 'add', '10.99.0.0/24', 'via', '10.9.0.2');
  return lab;
}

describe('lab', () => {
  it('carries 20 MB of TCP each way with equal checksums, and every query, from client to net', async () => {
    const { client, net } = await routedLab();
    const service = startService(lab as Lab);
    await service.line(/^serving/);
    for (const direction of ['up', 'down']) {
      const before = net.counters('n0');
      const result = JSON.parse(await client.run(...transferCommand(direction, 20_000_000, 7))) as TransferResult;
      expect(result.received).toBe(result.sent);
      const [moved, start] = [net.counters('n0'), before].map((c) => (direction === 'up' ? c.bytesIn : c.bytesOut));
      expect(moved - start).toBeGreaterThan(20_000_000);
    }
    const queries = JSON.parse(await client.run(...transferCommand('queries', 200, 7))) as QueryResult;
    expect(queries).toEqual({ asked: 200, answered: 200, wrong: 0 });
  });

  it('counts an unanswered query instead of waiting for it', async () => {
    const { client } = await routedLab();
    const queries = JSON.parse(await client.run(...transferCommand('queries', 1, 7, NET_ADDRESS))) as QueryResult;
    expect(queries).toEqual({ asked: 1, answered: 0, wrong: 0 });
  });

  it('hears of a device that comes later, and of none that does not', async () => {
    const { server } = await routedLab();
    const add = ['ip', 'link', 'add', 'late0', 'type', 'veth', 'peer', 'name', 'late1'];
    await Promise.all([server.device('late0', 5_000), server.run(...add)]);
    await server.device('late0', 0);
    await expect(server.device('never0', 50)).rejects.toMatchObject({ code: 'LAB_SILENT' });
  });

  it('leaves no namespace, process or folder behind', async () => {
    const { client, folder } = await routedLab();
    const stubborn = client.start('stubborn', ['sh', '-c', 'trap "" TERM; sleep 1000 & echo up; wait; wait']);
    await stubborn.line(/^up/);
    const members = processTree(stubborn.pid);
    expect(members.length).toBe(2);
    await lab?.close();
    expect((await outcomeOf(['ip', 'netns', 'list'])).stdout).not.toContain(client.namespace);
    expect(members.filter((pid) => readdirSync('/proc').includes(String(pid)))).toEqual([]);
    expect((await outcomeOf(['test', '-e', folder])).code).toBe(1);
  });
});

describe('a started program', () => {
  it('fails a wait for a line when it ends first, with what it said last', async () => {
    const program = new Program('brief', ['sh', '-c', 'echo one; echo two >&2; exit 3']);
    await expect(program.line(/never/)).rejects.toThrow(/exit code 3.*two/s);
    expect(await program.exited).toEqual({ code: 3, signal: null });
  });

  it('is seen to use the CPU, its children that ended included', async () => {
    const burn = `${process.execPath} -e "while (process.cpuUsage().user < 300_000);"`;
    const program = new Program('burner', ['sh', '-c', `${burn}; echo done; sleep 1000`]);
    await program.line(/done/);
    expect(cpuSeconds(program.pid)).toBeGreaterThan(0.2);
    await program.stop();
  });
});
