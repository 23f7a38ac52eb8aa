import { describe, expect, it } from 'vitest';
import { encodeAddress } from '../../src/datapath/address.ts';
import { HalfOpen, sourceOf } from '../../src/server/half-open.ts';

const source = (address: string, portNumber = 1) => sourceOf(encodeAddress(address, portNumber, '192.0.2.1'));

describe('the source of a client', () => {
  it('is an IPv4 address, mapped or not, whatever the port', () => {
    expect(source('192.0.2.9', 1)).toBe(source('192.0.2.9', 2));
    expect(source('::ffff:192.0.2.9')).toBe(source('192.0.2.9'));
    expect(source('192.0.2.9')).not.toBe(source('192.0.2.10'));
  });

  it('is a /64 of IPv6', () => {
    expect(source('2001:db8:1:2::1')).toBe(source('2001:db8:1:2:ffff:ffff:ffff:ffff'));
    expect(source('2001:db8:1:2::1')).not.toBe(source('2001:db8:1:3::1'));
  });
});

describe('half-open clients', () => {
  it('have a limit a source, and a slot gives its place back once', () => {
    const all = new HalfOpen(2);
    for (const slot of [1, 2]) {
      expect(all.hasRoom('a')).toBe(true);
      all.enter('a');
      all.hold(slot, 'a');
    }
    expect([all.hasRoom('a'), all.hasRoom('b'), all.sessions]).toEqual([false, true, 2]);
    for (let times = 0; times < 3; times++) all.settled(1);
    expect([all.hasRoom('a'), all.sessions]).toEqual([true, 1]);
    all.enter('a');
    expect(all.hasRoom('a')).toBe(false);
  });
});
