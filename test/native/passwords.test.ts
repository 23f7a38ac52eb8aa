/** Password hashes, under the sanitizers: the vectors, and what a caller may get wrong. */
import '../server/users.test.ts';
import { describe, expect, it } from 'vitest';
import { loadAddon } from '../../src/native/index.ts';

const addon = loadAddon();
const word = Buffer.from('password');

describe('hashPassword', () => {
  it.each([
    [['password', 'ab'], 'ERR_INVALID_ARG_TYPE'],
    [[word], 'ERR_INVALID_ARG_TYPE'],
    [[word, ''], 'ERR_OUT_OF_RANGE'],
    [[word, `$6$${'a'.repeat(400)}`], 'ERR_OUT_OF_RANGE'],
    [[Buffer.alloc(512, 1), 'ab'], 'ERR_OUT_OF_RANGE'],
    [[Buffer.from('a\0b'), 'ab'], 'ERR_OUT_OF_RANGE'],
    [[word, '$9$unknown'], 'EINVAL'],
    [[word, '*0'], 'EINVAL'],
    [[word, '$6$rounds=x$abcd'], 'EINVAL'],
  ])('refuses %j', (given, code) => {
    const hash = addon.hashPassword as (...args: unknown[]) => string;
    expect(() => hash(...given)).toThrow(expect.objectContaining({ code }));
  });

  it('takes an empty password and one of 511 bytes', () => {
    for (const length of [0, 511]) expect(addon.hashPassword(Buffer.alloc(length, 0x61), '$1$abcd')).toHaveLength(30);
  });

  it('never says what the password is when it is refused', () => {
    expect(() => addon.hashPassword(word, '$9$unknown')).not.toThrow(/password\b.*password/);
  });
});
