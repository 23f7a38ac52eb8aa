import { afterAll, describe, expect, it } from 'vitest';
import { Group } from '../../src/crypto/groups.ts';
import { createCryptoPool, patient } from '../../src/datapath/crypto-pool.ts';
import { serverPem } from '../server/memory-server.ts';

// The hash of nobody's password, with rounds enough to take a while.
const HASH = `$6$rounds=20000$salt$${'.'.repeat(86)}`;

describe('the crypto pool', () => {
  const pool = createCryptoPool({ role: 'server', ...serverPem, userDb: `alice:${HASH}\n`, tokenKey: null }, 1);
  afterAll(() => pool.destroy());

  it('takes steps of handshakes before logins that wait, and a login now and then all the same', async () => {
    const finished: string[] = [];
    const login = () =>
      patient({ login: { auth: { method: 'userPass', user: 'alice', password: Buffer.from('guess') } } });
    const keygen = () => ({ task: { op: 'keygen', group: Group.x25519 } });
    const run = (name: string, job: object) => pool.run(job).then(() => finished.push(name));
    const warm = pool.run(keygen());
    await warm; // the thread has started
    const first = run('login', login()); // at once, since nothing else is there
    const rest = [...Array(3)].map(() => run('login', login()));
    const steps = [...Array(6)].map(() => run('step', keygen()));
    await Promise.all([first, ...rest, ...steps]);
    expect(finished[0]).toBe('login');
    expect(finished.slice(1, 4)).toContain('step');
    const lastStep = finished.lastIndexOf('step');
    const loginsBefore = finished.slice(1, lastStep).filter((name) => name === 'login').length;
    expect(loginsBefore).toBeGreaterThanOrEqual(1);
    expect(loginsBefore).toBeLessThanOrEqual(2);
    expect(finished.filter((name) => name === 'login')).toHaveLength(4);
  });
});
