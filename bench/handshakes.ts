/**
 * Full DTLS 1.3 handshakes a second on one core, both ends and all public-key work on this thread, by key-exchange group; P-256 certificate,
 * native vault. What a server alone costs is a little less than half.
 */
import type { KeyObject } from 'node:crypto';
import { generateKeyPairSync } from 'node:crypto';
import { GROUPS, Group } from '../src/crypto/groups.ts';
import { createNativeVault } from '../src/crypto/native-vault.ts';
import { createReferenceVault } from '../src/crypto/reference-vault.ts';
import { schemesOf } from '../src/crypto/schemes.ts';
import { type Credentials, runTask } from '../src/crypto/tasks.ts';
import { Suite, type Vault } from '../src/crypto/vault.ts';
import { DtlsClient } from '../src/dtls/client.ts';
import { CookieSecrets } from '../src/dtls/cookie.ts';
import type { Endpoint } from '../src/dtls/events.ts';
import { answerHello } from '../src/dtls/listener.ts';
import { createMemoryProtection } from '../src/dtls/memory-protection.ts';
import { DtlsServer } from '../src/dtls/server.ts';
import { loadAddon } from '../src/native/index.ts';
import { issue, TODAY } from '../test/crypto/authority.ts';
import { interleave, show } from './rounds.ts';

const ADDRESS = Uint8Array.of(192, 0, 2, 1, 0x6c, 0x2a);
const random = (length: number) => crypto.getRandomValues(new Uint8Array(length));

function makeHandshake(vault: Vault, group: number): () => void {
  const root = issue({ name: 'root', ca: true });
  const leaf = issue({ name: 'vpn.example', issuer: root, dnsNames: ['vpn.example'] });
  const schemes = schemesOf(leaf.privateKey as KeyObject);
  const certificateChain = [leaf.der];
  const serverSide: Credentials = { certificateChain, privateKey: leaf.privateKey };
  const clientSide: Credentials = { trustAnchors: [root.der], serverName: 'vpn.example', now: () => TODAY };
  const secrets = new CookieSecrets(vault, random(32));
  const listener = {
    vault,
    secrets,
    suites: [Suite.aes256],
    groups: [group],
    schemes,
    applicationData: (b: Uint8Array) => b,
  };

  return () => {
    let server: Endpoint | undefined;
    const client = new DtlsClient({
      vault,
      random,
      protection: createMemoryProtection(vault),
      suites: [Suite.aes256],
      groups: [group],
      share: undefined,
    });
    client.start(0);
    for (let quiet = 0; quiet < 2; ) {
      const before = quiet;
      for (const output of client.drain()) {
        quiet = -1;
        if (output.kind === 'task') client.complete(0, output.id, runTask(output.task, clientSide));
        if (output.kind !== 'datagram') continue;
        if (server) server.receive(0, output.bytes);
        else {
          const answer = answerHello(0, output.bytes, ADDRESS, listener);
          if (answer.kind === 'retry') client.receive(0, answer.bytes);
          if (answer.kind === 'accept')
            server = new DtlsServer(0, answer.accepted, {
              vault,
              random,
              protection: createMemoryProtection(vault),
              certificateChain,
              schemes,
            });
        }
      }
      for (const output of server?.drain() ?? []) {
        quiet = -1;
        if (output.kind === 'task') server?.complete(0, output.id, runTask(output.task, serverSide));
        if (output.kind === 'datagram') client.receive(0, output.bytes);
      }
      quiet = quiet === -1 ? 0 : before + 1;
    }
    if (client.state !== 'established' || server?.state !== 'established')
      throw new Error('the handshake did not complete');
  };
}

export async function bench(quick: boolean): Promise<void> {
  generateKeyPairSync('ec', { namedCurve: 'P-256' }); // OpenSSL's set-up is not a handshake's cost
  const rounds = quick ? 1 : 7;
  const forMs = quick ? 50 : 400;
  const native = createNativeVault(loadAddon());
  const contenders = [
    Group.secp256r1,
    Group.x25519,
    Group.x25519MlKem768,
    Group.secp384r1,
    Group.secp521r1MlKem1024,
  ].map((group) => ({ name: GROUPS.get(group)?.name ?? '', handshake: makeHandshake(native, group) }));
  contenders.push({
    name: 'x25519, vault in TypeScript',
    handshake: makeHandshake(createReferenceVault(), Group.x25519),
  });
  const results = await interleave(
    contenders.map(({ name, handshake }) => ({
      name,
      run: () => {
        const began = performance.now();
        let done = 0;
        do {
          handshake();
          done++;
        } while (performance.now() - began < forMs);
        return (1000 * done) / (performance.now() - began);
      },
    })),
    rounds,
  );
  show('DTLS 1.3 handshakes per second, both ends on one core', 'handshakes/s', results, rounds);
}
