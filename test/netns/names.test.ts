/** What a client says of the name server inside, and of IPv6; and what a server says of whom it lets in. */
import { describe, expect, it } from 'vitest';
import { NET_ADDRESS } from '../../src/lab/hosts.ts';
import { ringway, startClient, startServer } from '../../src/lab/tunnel.ts';
import { useLab } from './fixture.ts';
import { createEtc, inEtc } from './own-etc.ts';

/** Refuses every question (RFC 1035 §4.1.1: QR, RCODE 5). */
const RESOLVER = `const socket = require('node:dgram').createSocket('udp4');
socket.on('message', (question, { port, address }) => {
  question[2] |= 0x80;
  question[3] = 5;
  socket.send(question, port, address);
});
socket.bind(53, () => console.log('up'));`;

describe('a client that takes over the names of its host', () => {
  const fixture = useLab();

  async function online(atServer: Record<string, string>) {
    const { lab, credentials } = fixture;
    const etc = await createEtc(lab.folder);
    const client = inEtc(etc, ringway(lab, 'client', [], { route_mode: 'default', dns_config_mode: 'default' }));
    const options = {
      mode: 'udp',
      expresslane: true,
      credentials,
      server: ringway(lab, 'server', [], atServer),
      client,
    } as const;
    const server = await startServer(lab, options);
    return { server, client: await startClient(lab, options) };
  }

  it('warns where nobody answers for names at the server, and that IPv6 goes beside the tunnel', async () => {
    const { client: host } = fixture.lab;
    await host.run('ip', '-6', 'route', 'add', 'default', 'dev', 'c0');
    const { client, server } = await online({});
    await client.line(/WARN keeper: .*code=IPV6_BESIDE/, 40_000);
    const warning = await client.line(/nobody answers for names|the name server inside answers/, 40_000);
    expect(warning).toMatch(/WARN client: .*100\.64\.0\.1 code=NAMES_SILENT advice=.*lightway_dns_ip/);
    expect(await server.line(/ is online/)).toMatch(/ inside=10\.125\.\d+\.\d+/);
    await host.run('ip', '-6', 'route', 'delete', 'default', 'dev', 'c0');
  });

  it('has names where lightway_dns_ip is a resolver that the server reaches', async () => {
    const resolver = fixture.lab.net.start('resolver', [process.execPath, '-e', RESOLVER]);
    await resolver.line(/^up/);
    const { client } = await online({ lightway_dns_ip: NET_ADDRESS });
    const said = await client.line(/nobody answers for names|the name server inside answers/, 40_000);
    expect(said).toMatch(/INFO client: the name server inside answers, 100\.64\.0\.1/);
    expect(client.lines.filter((line) => line.includes('IPV6_BESIDE'))).toEqual([]);
  });
});
