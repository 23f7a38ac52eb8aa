/** The vectors are those that Project Wycheproof published: a case changed or lost by hand would prove nothing. */
import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { groupsOf, listed, textOf } from './vectors.ts';

it('the archive holds 24 files with the digests of SHA256SUMS, and 7,129 cases', () => {
  const sums = listed();
  const found = [...sums.keys()].map((file) => [file, createHash('sha256').update(textOf(file)).digest('hex')]);
  expect(found).toEqual([...sums]);
  const cases = [...sums.keys()].flatMap((file) => groupsOf(file).map(({ tests }) => tests.length));
  expect(sums.size).toBe(24);
  expect(cases.reduce((sum, count) => sum + count)).toBe(7129);
});
