/** wolfSSL 5.5.4 on the other side, in both roles: the library behind stock Lightway, a few years younger. */
import { beforeAll, describe, expect, it } from 'vitest';
import { Group } from '../../src/crypto/groups.ts';
import { Suite } from '../../src/crypto/vault.ts';
import { connect, now, serve, type Weather } from './driver.ts';
import { certificate, freePort, makePeers, wolfssl } from './peers.ts';

const SUITES = [Suite.aes128, Suite.aes256, Suite.chacha20];
const NAMES = new Map<number, string>([
  [Suite.aes128, 'TLS13-AES128-GCM-SHA256'],
  [Suite.aes256, 'TLS13-AES256-GCM-SHA384'],
  [Suite.chacha20, 'TLS13-CHACHA20-POLY1305-SHA256'],
]);
const STORMS: readonly Weather[] = [1, 2, 3].map((seed) => ({ seed, loss: 0.2, reorder: 0.2 }));

beforeAll(makePeers);

interface Options {
  suite?: number;
  group?: number;
  key?: string;
  weather?: Weather;
  args?: readonly string[];
}

async function serveWolfssl({ suite, group, key = 'p256', weather, args = [] }: Options) {
  const { der, privateKey, crt } = certificate(key);
  const server = await serve({
    credentials: { certificateChain: [der], privateKey },
    suites: suite === undefined ? SUITES : [suite],
    groups: [group ?? Group.secp256r1],
    ...(weather === undefined ? {} : { weather }),
  });
  const suiteArgs = suite === undefined ? [] : ['-l', NAMES.get(suite) ?? ''];
  const client = wolfssl('client', ['-h', '127.0.0.1', '-p', `${server.port}`, '-A', crt, ...suiteArgs, ...args]);
  await server.driver.until(() => server.driver.has('closed'));
  const code = await client.exit();
  server.close();
  return { code, text: client.text, driver: server.driver };
}

describe('our server with a client of wolfSSL', () => {
  it('agrees on every suite, echoes, and is told the end', async () => {
    for (const suite of SUITES) {
      const { text, driver } = await serveWolfssl({ suite });
      expect(driver.texts()[0]).toContain('hello wolfssl');
      expect(text).toContain('hello wolfssl');
      expect(driver.outputs.at(-1)).toMatchObject({ kind: 'closed', code: 'PEER_CLOSED' });
    }
  });

  it('asks for the group it prefers, and accepts RSA and P-384 certificates', async () => {
    for (const [group, key] of [
      [Group.x25519, 'rsa'],
      [Group.secp384r1, 'p384'],
      [Group.secp256r1, 'p256'],
    ] as const) {
      const { driver } = await serveWolfssl({ group, key });
      expect(driver.outputs[0]).toMatchObject({ kind: 'established', group });
    }
  });

  for (const weather of STORMS) {
    it(`completes with a fifth lost and a fifth reordered, seed ${weather.seed}`, async () => {
      const { driver } = await serveWolfssl({ weather });
      expect(driver.texts()[0]).toContain('hello wolfssl');
    });
  }
});

async function connectWolfssl({ suite, group = Group.secp256r1, key = 'p256', weather, args = [] }: Options) {
  const { der, crt, key: keyFile } = certificate(key);
  const portNumber = freePort();
  const suiteArgs = suite === undefined ? [] : ['-l', NAMES.get(suite) ?? ''];
  // No tickets (-T n): SSL_read of 5.5.4 returns 0 on our ACK of one, and the program then answers what it never read.
  const server = wolfssl('server', [
    '-p',
    `${portNumber}`,
    '-c',
    crt,
    '-k',
    keyFile,
    '-d',
    '-T',
    'n',
    ...suiteArgs,
    ...args,
  ]);
  // It says nothing when it is ready: our client repeats itself until it is.
  const client = await connect(portNumber, {
    credentials: { trustAnchors: [der], now: Date.now },
    suites: suite === undefined ? SUITES : [suite],
    groups: [group],
    ...(weather === undefined ? {} : { weather }),
  });
  const { driver } = client;
  await driver.until(() => driver.has('established') || driver.has('closed'));
  expect(driver.outputs[0]).toMatchObject({ kind: 'established', group });
  driver.step((endpoint) => endpoint.send(now(), Buffer.from('hello from the other side')));
  await driver.until(() => driver.has('data'));
  client.close();
  await server.said(/Client message: hello from the other side/);
  server.kill();
  await server.exit();
  return { driver };
}

describe('our client with a server of wolfSSL', () => {
  it('agrees on every suite after the cookie it always asks for', async () => {
    for (const suite of SUITES) {
      const { driver } = await connectWolfssl({ suite });
      expect(driver.texts()[0]).toContain('I hear you');
    }
  });

  it('agrees on x25519 and P-384, with RSA and P-384 certificates', async () => {
    for (const [group, key] of [
      [Group.x25519, 'rsa'],
      [Group.secp384r1, 'p384'],
    ] as const) {
      const { driver } = await connectWolfssl({ group, key });
      expect(driver.texts()[0]).toContain('I hear you');
    }
  });

  it('follows its key update', async () => {
    const { driver } = await connectWolfssl({ args: ['-U'] });
    await driver.until(() => driver.has('data'));
    expect(driver.texts()[0]).toContain('I hear you');
    expect(driver.outputs.filter((each) => each.kind === 'keysUpdated')).toContainEqual({
      kind: 'keysUpdated',
      direction: 'receive',
      epoch: 4,
    });
  });

  for (const weather of STORMS) {
    it(`completes with a fifth lost and a fifth reordered, seed ${weather.seed}`, async () => {
      const { driver } = await connectWolfssl({ weather });
      expect(driver.texts()[0]).toContain('I hear you');
    });
  }
});
