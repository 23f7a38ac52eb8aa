/** `ringway calibrate`, whole: that every combination carries a flow, and that what it names is one of them. Not which is best. */
import { deepEqual, equal, ok } from 'node:assert/strict';
import { describe, it } from 'vitest';
import type { Calibration } from '../../src/calibrate/measure.ts';
import { outcomeOf } from '../../src/lab/programs.ts';
import { RINGWAY } from '../../src/lab/tunnel.ts';
import { loadAddon } from '../../src/native/index.ts';

describe('ringway calibrate', () => {
  it('carries a flow by every combination this machine has, and names flags of one of them', async () => {
    const words = ['calibrate', '--rounds', '1', '--duration', '100ms', '--json'];
    const { code, stdout, stderr } = await outcomeOf([RINGWAY, ...words], 90_000);
    equal(code, 0, stderr);
    const { measured, absent, best, flags } = JSON.parse(stdout) as Calibration;
    for (const { flag, gigabits } of measured) ok(gigabits.median > 0, `${flag || 'auto'} carried nothing`);
    const seen = [...measured, ...absent].map(({ flag }) => flag);
    for (const flag of ['', '--aead noble', '--gro off', '--tun-offload off']) ok(seen.includes(flag), flag);
    ok(seen.includes('--io epoll') || seen.includes('--io io_uring'));
    if (measured[0].combination.io === 'io_uring')
      for (const flag of ['--sqpoll on', '--zero-copy on']) ok(seen.includes(flag), flag);
    // all else can be had wherever the addon runs
    for (const { flag } of absent) ok(['--io io_uring', '--sqpoll on', '--zero-copy on'].includes(flag), flag);

    ok(['io_uring', 'epoll'].includes(best.io));
    ok([...loadAddon().about().aead, 'noble'].includes(best.aead));
    const { io, aead, gro, tunOffload } = best;
    deepEqual(flags.slice(0, 8), ['--io', io, '--aead', aead, '--gro', gro, '--tun-offload', tunOffload]);
    const changed = (Object.keys(best) as (keyof typeof best)[]).filter(
      (key) => best[key] !== measured[0].combination[key],
    );
    // what is named was measured, as one
    if (changed.length > 0)
      ok(measured.some(({ combination }) => changed.every((key) => combination[key] === best[key])));
  });

  it('refuses a measurement of no rounds', async () => {
    const { code, stderr } = await outcomeOf([RINGWAY, 'calibrate', '--rounds', '0']);
    equal(code, 2);
    ok(/--rounds/.test(stderr), stderr);
  });
});
