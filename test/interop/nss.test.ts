/** NSS 3.125 on the other side, in both roles. */
import { beforeAll, describe, expect, it } from 'vitest';
import { GROUPS, Group } from '../../src/crypto/groups.ts';
import { Suite } from '../../src/crypto/vault.ts';
import { connect, now, serve, type Weather } from './driver.ts';
import { certificate, freePort, makePeers, nss } from './peers.ts';

const SUITES = [Suite.aes128, Suite.aes256, Suite.chacha20];
/** All but the private code, which NSS does not know. */
const NSS_GROUPS = [...GROUPS.keys()].filter((group) => group !== Group.secp521r1MlKem1024);
const hex = (value: number): string => `0x${value.toString(16)}`;
const STORMS: readonly Weather[] = [1, 2, 3, 4].map((seed) => ({ seed, loss: 0.2, reorder: 0.2 }));

beforeAll(makePeers);

async function serveNss(
  args: readonly string[],
  options: { suite?: number; group?: number; key?: string; weather?: Weather } = {},
) {
  const { der, privateKey } = certificate(options.key ?? 'p256');
  const server = await serve({
    credentials: { certificateChain: [der], privateKey },
    suites: options.suite === undefined ? SUITES : [options.suite],
    groups: options.group === undefined ? [Group.x25519] : [options.group],
    ...(options.weather === undefined ? {} : { weather: options.weather }),
  });
  const client = nss('client', ['-p', `${server.port}`, ...args]);
  const code = await client.exit();
  server.close();
  return { code, text: client.text, driver: server.driver };
}

describe('our server with a client of NSS', () => {
  for (const group of NSS_GROUPS.filter((each) => GROUPS.get(each)?.kem === undefined)) {
    it(`agrees on ${GROUPS.get(group)?.name} after a retry`, async () => {
      const { code, text } = await serveNss(['-g', `0x1d,${hex(group)}`], { group });
      expect(text).toMatch(new RegExp(`version=0x0304 .*group=${group} `));
      expect(code).toBe(0);
    });
  }

  it('keeps nothing of a second ClientHello in pieces whose cookie, as NSS has it, is not in the first', async () => {
    const { code, driver } = await serveNss(['-t', '1000', '-g', '0x1d,0x11ec'], { group: Group.x25519MlKem768 });
    expect(driver.refused).toContain('fragmented');
    expect(driver.endpoint).toBeUndefined();
    expect(code).not.toBe(0);
  });

  it('agrees on every suite and accepts RSA, P-384 and P-521 certificates', async () => {
    for (const [suite, key] of [
      [Suite.aes128, 'rsa'],
      [Suite.aes256, 'p384'],
      [Suite.chacha20, 'p521'],
    ] as const) {
      const { code, text } = await serveNss(['-c', hex(suite)], { suite, key });
      expect(text).toContain(`suite=${hex(suite)}`);
      expect(code).toBe(0);
    }
  });

  it('answers its key update and follows it', async () => {
    const { code, text, driver } = await serveNss(['-K', '1', '-m', '4']);
    expect(text).toContain('epochs r=4 w=4');
    expect(driver.outputs.filter((each) => each.kind === 'keysUpdated').length).toBe(2);
    expect(code).toBe(0);
  });

  it('reads its short record headers', async () => {
    expect((await serveNss(['-S'])).code).toBe(0);
  });

  for (const weather of STORMS) {
    it(`completes with a fifth lost and a fifth reordered, seed ${weather.seed}`, async () => {
      const { code, text } = await serveNss(['-g', '0x1d'], { weather });
      expect(text).toContain('client: ok');
      expect(code).toBe(0);
    });
  }
});

interface Options {
  suite?: number;
  groups?: readonly number[];
  share?: number | undefined;
  key?: string;
  weather?: Weather;
}

async function connectNss(args: readonly string[], options: Options = {}) {
  const key = options.key ?? 'p256';
  const portNumber = freePort();
  const server = nss('server', ['-n', key, '-p', `${portNumber}`, '-w', '4000', ...args]);
  await server.said(/listening/);
  const client = await connect(portNumber, {
    credentials: { trustAnchors: [certificate(key).der], serverName: 'localhost', now: Date.now },
    suites: options.suite === undefined ? SUITES : [options.suite],
    groups: options.groups ?? [Group.x25519],
    ...('share' in options ? { share: options.share } : {}),
    ...(options.weather === undefined ? {} : { weather: options.weather }),
  });
  const { driver } = client;
  await driver.until(() => driver.has('established') || driver.has('closed'));
  return { server, driver, close: client.close };
}

/** Says something and waits for the echo, then parts in good order. */
async function converse(session: Awaited<ReturnType<typeof connectNss>>, words: readonly string[]): Promise<void> {
  const { server, driver, close } = session;
  expect(driver.outputs[0]).toMatchObject({ kind: 'established' });
  for (const [i, word] of words.entries()) {
    driver.step((endpoint) => endpoint.send(now(), Buffer.from(word)));
    await driver.until(() => driver.texts().length > i);
  }
  expect(driver.texts()).toEqual(words);
  close();
  await server.said(/done \(close_notify\)/);
  server.kill();
}

describe('our client with a server of NSS', () => {
  for (const group of NSS_GROUPS) {
    it(`agrees on ${GROUPS.get(group)?.name}, at once or asked for`, async () => {
      await converse(await connectNss(['-g', hex(group)], { groups: [group] }), ['one', 'two']);
      await converse(await connectNss(['-g', hex(group), '-R'], { groups: [Group.x25519, group], share: undefined }), [
        'three',
      ]);
    });
  }

  it('agrees on every suite, with certificates of every kind NSS has and one of 6 kB', async () => {
    const pairs = [
      [Suite.aes128, 'rsa'],
      [Suite.aes256, 'p384'],
      [Suite.chacha20, 'p521'],
      [Suite.aes128, 'big'],
      [Suite.aes256, 'rsa4096'],
    ] as const;
    for (const [suite, key] of pairs) {
      await converse(await connectNss(['-c', hex(suite)], { suite, key }), ['one']);
    }
  });

  it('answers a key update and makes one', async () => {
    const session = await connectNss(['-K', '1']);
    const { driver } = session;
    driver.step((endpoint) => endpoint.send(now(), Buffer.from('zero')));
    await driver.until(() => driver.has('keysUpdated', 2));
    driver.step((endpoint) => expect(endpoint.updateKeys(now(), true)).toBe(true));
    await driver.until(() => driver.has('keysUpdated', 4));
    driver.step((endpoint) => endpoint.send(now(), Buffer.from('after')));
    await driver.until(() => driver.texts().length === 2);
    expect(driver.texts()).toEqual(['zero', 'after']);
    session.close();
    await session.server.said(/epochs r=5 w=5[\s\S]*done \(close_notify\)/);
    session.server.kill();
  });

  it('has no certificate when asked for one, and lives on; ignores tickets', async () => {
    await converse(await connectNss(['-C', '1', '-T']), ['one', 'two']);
  });

  for (const weather of STORMS) {
    it(`completes with a fifth lost and a fifth reordered, seed ${weather.seed}`, async () => {
      const args = ['-R', '-g', '0x11ec'];
      await converse(await connectNss(args, { groups: [Group.x25519MlKem768], weather }), ['one']);
    });
  }
});
