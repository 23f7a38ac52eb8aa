/** What a client says, and how it ends, when there is no way in: exit code 1 and the code that documentation and programs know it by. */
import { describe, expect, it } from 'vitest';
import { type Credentials, createAuthority, createCertificate } from '../../src/lab/credentials.ts';
import { ringway, startClient, startServer, type TunnelOptions } from '../../src/lab/tunnel.ts';
import { useLab } from './fixture.ts';

/** Stock clients give up a handshake after 12.9 s (protocol specification §11.5). */
const LONGEST_MS = 20_000;

describe.each(['udp', 'tcp'] as const)('a client over %s', (mode) => {
  const fixture = useLab();

  function options(changes: { credentials?: Credentials; keys?: Record<string, string> } = {}): TunnelOptions {
    const [server, client] = [ringway(fixture.lab, 'server'), ringway(fixture.lab, 'client', [], changes.keys)];
    return { mode, expresslane: false, credentials: changes.credentials ?? fixture.credentials, server, client };
  }

  /** Runs a server with `atServer` and a client with `atClient` until the client gives up. */
  async function refusal(atServer: TunnelOptions | undefined, atClient: TunnelOptions) {
    if (atServer) await startServer(fixture.lab, atServer);
    const client = await startClient(fixture.lab, atClient);
    const { code } = await client.end(LONGEST_MS);
    await client.exited; // all it had to say was read
    return {
      code,
      complaint: client.lines.map((line) => /\[([A-Z_]+)\]$/.exec(line)?.[1]).filter((word) => word !== undefined),
      names: client.lines.flatMap((line) => /asked for .*, it is for [^ ]+/.exec(line) ?? []),
    };
  }

  it('with a wrong password is refused: UNAUTHORIZED', async () => {
    const wrong = options({ keys: { password: 'passwort' } });
    expect(await refusal(options(), wrong)).toEqual({ code: 1, complaint: ['UNAUTHORIZED'], names: [] });
  });

  it('refuses a server whose certificate another authority signed: CERT_UNTRUSTED', async () => {
    const authority = await createAuthority(fixture.lab.folder, 'stranger');
    const other = options({ credentials: { ...fixture.credentials, authority } });
    expect(await refusal(options(), other)).toEqual({ code: 1, complaint: ['CERT_UNTRUSTED'], names: [] });
  });

  it('refuses a server whose certificate has another name: CERT_NAME', async () => {
    const other = options({ keys: { server_dn: 'other.example' } });
    const names = ['asked for other.example, it is for DNS:vpn.example'];
    expect(await refusal(options(), other)).toEqual({ code: 1, complaint: ['CERT_NAME'], names });
  });

  it('refuses a server whose certificate has run out: CERT_EXPIRED', async () => {
    const order = { authority: 'authority', name: 'vpn.example', days: -1, file: 'expired' };
    const expired = options({
      credentials: { ...fixture.credentials, ...(await createCertificate(fixture.lab.folder, order)) },
    });
    expect(await refusal(expired, options())).toEqual({ code: 1, complaint: ['CERT_EXPIRED'], names: [] });
  });

  it('gives up on a server that is away: SERVER_SILENT over UDP, SERVER_REFUSED over TCP', async () => {
    const code = mode === 'udp' ? 'SERVER_SILENT' : 'SERVER_REFUSED';
    expect(await refusal(undefined, options())).toEqual({ code: 1, complaint: [code], names: [] });
  });
});
