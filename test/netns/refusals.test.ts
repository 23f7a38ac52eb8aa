/** What a client says, and how it ends, when there is no way in: exit code 1 and the code that documentation and programs know it by. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Credentials, createAuthority, createCertificate, createCredentials } from '../../src/lab/credentials.ts';
import { Lab } from '../../src/lab/hosts.ts';
import { ringway, startClient, startServer, type TunnelOptions } from '../../src/lab/tunnel.ts';

/** Stock clients give up a handshake after 12.9 s (protocol specification §11.5). */
const LONGEST_MS = 20_000;

describe.each(['udp', 'tcp'] as const)('a client over %s', (mode) => {
  let lab: Lab;
  let credentials: Credentials;
  let standing: number;

  beforeAll(async () => {
    lab = await Lab.create();
    credentials = await createCredentials(lab.folder);
  });
  beforeEach(() => {
    standing = lab.programs.length;
  });
  afterEach(() => lab.stopSince(standing));
  afterAll(() => lab?.close());

  function options(changes: { credentials?: Credentials; keys?: Record<string, string> } = {}): TunnelOptions {
    const [server, client] = [ringway(lab, 'server'), ringway(lab, 'client', [], changes.keys)];
    return { mode, expresslane: false, credentials: changes.credentials ?? credentials, server, client };
  }

  /** Runs a server with `atServer` and a client with `atClient` until the client gives up. */
  async function refusal(atServer: TunnelOptions | undefined, atClient: TunnelOptions) {
    if (atServer) await startServer(lab, atServer);
    const client = await startClient(lab, atClient);
    const { code } = await client.end(LONGEST_MS);
    await client.exited; // all it had to say was read
    return {
      code,
      complaint: client.lines.map((line) => /\[([A-Z_]+)\]$/.exec(line)?.[1]).filter((word) => word !== undefined),
    };
  }

  it('with a wrong password is refused: UNAUTHORIZED', async () => {
    const wrong = options({ keys: { password: 'passwort' } });
    expect(await refusal(options(), wrong)).toEqual({ code: 1, complaint: ['UNAUTHORIZED'] });
  });

  it('refuses a server whose certificate another authority signed: CERT_UNTRUSTED', async () => {
    const authority = await createAuthority(lab.folder, 'stranger');
    const other = options({ credentials: { ...credentials, authority } });
    expect(await refusal(options(), other)).toEqual({ code: 1, complaint: ['CERT_UNTRUSTED'] });
  });

  it('refuses a server whose certificate has another name: CERT_NAME', async () => {
    const other = options({ keys: { server_dn: 'other.example' } });
    expect(await refusal(options(), other)).toEqual({ code: 1, complaint: ['CERT_NAME'] });
  });

  it('refuses a server whose certificate has run out: CERT_EXPIRED', async () => {
    const order = { authority: 'authority', name: 'vpn.example', days: -1, file: 'expired' };
    const expired = options({ credentials: { ...credentials, ...(await createCertificate(lab.folder, order)) } });
    expect(await refusal(expired, options())).toEqual({ code: 1, complaint: ['CERT_EXPIRED'] });
  });

  it('gives up on a server that is away: SERVER_SILENT over UDP, SERVER_REFUSED over TCP', async () => {
    const code = mode === 'udp' ? 'SERVER_SILENT' : 'SERVER_REFUSED';
    expect(await refusal(undefined, options())).toEqual({ code: 1, complaint: [code] });
  });
});
