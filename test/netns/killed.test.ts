/** A client that is killed cannot undo anything: the next start does, before it looks a name up. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { ringway, startClient, startServer, type TunnelOptions } from '../../src/lab/tunnel.ts';
import { useLab } from './fixture.ts';
import { BEFORE, createEtc, inEtc } from './own-etc.ts';

describe('after a client was killed', () => {
  const fixture = useLab();
  let etc: string;

  beforeEach(async () => {
    etc = await createEtc(fixture.lab.folder);
  });

  const names = () => readFileSync(join(etc, 'resolv.conf'), 'utf8');
  const routes = () => fixture.lab.client.run('ip', 'route', 'show');
  const routes6 = () => fixture.lab.client.run('ip', '-6', 'route', 'show', 'default');

  function options(): TunnelOptions {
    const { lab, credentials } = fixture;
    const keys = { route_mode: 'default', dns_config_mode: 'default' };
    const client = inEtc(etc, ringway(lab, 'client', ['--ipv6', 'block'], keys));
    return { mode: 'udp', expresslane: true, credentials, server: ringway(lab, 'server'), client };
  }

  it('the next one puts back routes and name servers, before its own and when it ends', async () => {
    const { lab } = fixture;
    await startServer(lab, options());
    const [before, before6] = [await routes(), await routes6()];

    const killed = await startClient(lab, options());
    await killed.line(/routes and name server are set/, 40_000);
    expect(names()).toContain('nameserver 100.64.0.1\n');
    expect(await routes6()).toContain('unreachable');
    killed.signal('SIGKILL');
    await killed.exited; // its engine has gone, too
    expect(names()).toContain('nameserver 100.64.0.1\n');
    expect(await routes()).toMatch(/^10\.9\.0\.2 dev c0/m);

    const next = await startClient(lab, options());
    await next.line(/routes and name server are set/, 40_000);
    const left = next.lines.filter((line) => line.includes('HOST_LEFTOVERS')).join('\n');
    expect(left).toContain(`process=${killed.pid}`);
    expect(left).toContain('ip route delete 10.9.0.2/32 dev c0');
    expect(names()).toContain('nameserver 100.64.0.1\n');
    expect(await routes()).toMatch(/^10\.9\.0\.2 dev c0/m);
    await next.stop();
    expect(names()).toBe(BEFORE);
    expect([await routes(), await routes6()]).toEqual([before, before6]);
    expect(readdirSync(etc).filter((name) => name.startsWith('resolv.conf.'))).toEqual([]);
    expect(existsSync(join(lab.folder, 'state-client', `undo-${next.pid}.json`))).toBe(false);
  });

  it('one whose server has a name finds it by the name servers of before', async () => {
    const { lab } = fixture;
    const text = '# written by ringway, which puts the former content back when it ends\n';
    writeFileSync(join(etc, 'resolv.conf.ringway-0123abcd'), BEFORE, { mode: 0o600 });
    writeFileSync(
      join(etc, 'resolv.conf'),
      `${text}# (process 1, begun 0; until then it is in /etc/resolv.conf.ringway-0123abcd)\n`,
    );
    writeFileSync(join(etc, 'hosts'), '10.9.0.2 vpn.example\n');
    const named = options();
    const keys = { ...named.client.keys, server: 'vpn.example:27690' };
    const client = await startClient(lab, { ...named, client: { ...named.client, keys } });
    await client.line(/looking up vpn\.example/, 40_000);
    expect(names()).toBe(BEFORE);
    await client.stop();
  });
});
