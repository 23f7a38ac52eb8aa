import { describe, expect, it } from 'vitest';
import type { Reading } from '../../src/demo/meter.ts';
import { inOneLine, table } from '../../src/demo/screen.ts';

const reading = (factor: number): Reading => ({
  seconds: 1,
  upBits: 11.04e9 * factor,
  downBits: 0,
  serverCpu: 1.44 * factor,
  clientCpu: 1.38 * factor,
  packets: 1_055_000 * factor,
  systemCalls: 9_900,
});
const NAME = 'UDP with Expresslane'; // the longest

describe('the demo on 80 columns', () => {
  it.each([1e-4, 0.01, 0.1, 1, 2])('shows a reading of %s in one line', (factor) => {
    expect(inOneLine(NAME, 'up', reading(factor)).length).toBeLessThanOrEqual(80);
  });

  it('shows its table, every column under its title', () => {
    const rows = [1e-4, 1, 2].map((factor) => ({
      name: NAME,
      pingMs: 123.45 * factor,
      upBitsPerSecond: 11.04e9 * factor,
      downBitsPerSecond: 12.5e9 * factor,
      whole: reading(factor),
    }));
    const lines = table([...rows, { name: 'TCP', failure: 'no bytes' }]).split('\n');
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
    expect(lines).toHaveLength(2 + 1 + 4 + 1);
    expect(lines[4]).toMatch(/^UDP with Expresslane +123\.45 +11\.04 +12\.50 +1\.05 M +106\.6 +1\.04 +1\.00$/);
    expect(lines.at(-1)).toBe('TCP: no bytes');
  });
});
