import { describe, expect, it } from 'vitest';
import { examine } from '../../src/keeper/doctor.ts';
import type { Privileges } from '../../src/keeper/privileges.ts';
import { type Addon, loadAddon } from '../../src/native/index.ts';

/** The real addon, but for the calls that a script refuses with a code; counts what stays open. */
function machine(
  refusals: Readonly<Record<string, string>>,
  changes: Readonly<Record<string, unknown>> = {},
  privileges: () => Privileges = () => ({ prefix: [], uid: 65534, summary: 'the engine runs as nobody' }),
) {
  const open = new Set<number>();
  let next = 100;
  const give = () => {
    open.add(next);
    return next++;
  };
  const calls: Record<string, (...args: never[]) => unknown> = {
    openTun: () => ({ name: 'tun7', descriptors: [give(), give()], existed: false, mtu: 1500 }),
    tunOffload: () => 0x67,
    steerTun: () => ({ map: give() }),
    shareTun: () => ({ map: give() }),
    openUdp: () => ({ descriptor: give(), portNumber: 1, sendBuffer: 2 ** 24, receiveBuffer: 2 ** 24, gro: true }),
    steerUdp: () => undefined,
    filterUdp: () => ({ map: give(), reveals: true }),
    openPort: () => ({}),
    closePort: () => undefined,
    tryTrain: () => 0,
    closeDescriptor: (descriptor: number) => void open.delete(descriptor),
  };
  const addon = { ...loadAddon() } as Record<string, unknown>;
  for (const [name, call] of Object.entries(calls)) {
    addon[name] = (...args: never[]) => {
      const code = refusals[name];
      if (code) throw Object.assign(new Error(`${name} refused`), { code, syscall: name });
      return changes[name] ?? call(...args);
    };
  }
  return { findings: [...examine(addon as never as Addon, privileges)], open };
}

describe('ringway doctor', () => {
  it.each([
    ['openTun', 'EPERM', 'tun', 'bad'],
    ['steerTun', 'EPERM', 'steering of packets', 'slow'],
    ['shareTun', 'EPERM', 'device queue', 'slow'],
    ['steerUdp', 'EPERM', 'steering of datagrams', 'slow'],
    ['filterUdp', 'EPERM', 'socket filter', 'slow'],
    ['openPort', 'ENOSYS', 'io_uring', 'slow'],
  ])('where the kernel refuses %s with %s says of %s that it is %s, and what to do', (call, code, subject, state) => {
    const { findings, open } = machine({ [call]: code });
    expect(findings.filter((finding) => finding.subject === subject)).toMatchObject([
      { state, words: expect.stringContaining(code), advice: expect.stringMatching(/.{10}/) },
    ]);
    expect(open.size).toBe(0);
  });

  it('has nothing to say of a machine that has everything, and leaves nothing open', () => {
    const { findings, open } = machine({});
    expect(findings.filter(({ state, advice }) => (state === 'ok') !== (advice === undefined))).toEqual([]);
    expect(findings.filter(({ subject }) => ['tun', 'udp', 'io_uring'].includes(subject))).toMatchObject(
      Array(3).fill({ state: 'ok' }),
    );
    expect(open.size).toBe(0);
  });

  it('says where the engine of root stays root, and what to do', () => {
    const about = (findings: readonly { subject: string }[]) =>
      findings.filter(({ subject }) => subject.includes('root'));
    expect(about(machine({}).findings)).toMatchObject([{ state: 'ok', words: 'the engine runs as nobody' }]);
    const summary = 'the engine stays root: nobody may not enter /root';
    const { findings } = machine({}, {}, () => ({ prefix: [], uid: 0, summary, advice: 'put it below /opt' }));
    expect(about(findings)).toMatchObject([
      { state: 'slow', words: summary, advice: 'put it below /opt', code: 'ENGINE_ROOT' },
    ]);
    const hidden = () => {
      throw new Error('EACCES');
    };
    expect(about(machine({}, {}, hidden).findings)).toMatchObject([{ state: 'slow' }]);
  });

  it.each([
    [0, 128],
    [22, 64],
  ])('says how long trains may be where the kernel answers %i to a long one', (tryTrain, longest) => {
    const { findings } = machine({}, { tryTrain });
    expect(findings.find(({ subject }) => subject === 'udp')?.words).toContain(`out up to ${longest} `);
  });

  it('says what is missing where the kernel lets no filter judge DTLS records', () => {
    const { findings } = machine({}, { filterUdp: { map: 99, reveals: false } });
    expect(findings.filter(({ subject }) => subject === 'socket filter')).toMatchObject([
      {
        state: 'slow',
        words: expect.stringContaining('nobody fills it alone'),
        advice: expect.stringContaining('CAP_PERFMON'),
      },
    ]);
  });

  it('knows a device without superpackets of UDP', () => {
    const { findings } = machine({}, { tunOffload: 0x07 });
    expect(findings.find(({ subject }) => subject === 'tun')).toMatchObject({ state: 'slow' });
  });
});
