import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  nearest,
  readBindAddress,
  readBitRate,
  readByteSize,
  readCidr,
  readDeviceName,
  readDuration,
  readEndpoint,
  readGroups,
  readIpv4,
  readListenAddress,
  Wrong,
} from '../../src/config/text.ts';

const MS = 1_000;
const SECOND = 1_000_000;

describe('readDuration', () => {
  it.each([
    ['100ms', 100 * MS],
    ['15m', 900 * SECOND],
    ['1h 30m', 5_400 * SECOND],
    ['1h30m', 5_400 * SECOND],
    ['2days 3 hours', 183_600 * SECOND],
    ['10us', 10],
    ['1M', 2_630_016 * SECOND],
    ['0s', 0],
  ])('reads %s', (text, micros) => {
    expect(readDuration(text)).toBe(micros);
  });

  it.each(['', '10', '1.5s', '-1s', '10 parsecs', 's', '1h 30', '99999999y'])(
    'refuses %j, saying what it wants',
    (text) => {
      expect((readDuration(text) as Wrong).expected).toMatch(/duration/);
    },
  );

  it('adds up the parts of any sequence of whole units', () => {
    const part = fc.tuple(
      fc.nat(1_000),
      fc.constantFrom<[string, number]>(['ms', MS], ['s', SECOND], ['m', 60 * SECOND]),
    );
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 5 }), (parts) => {
        const text = parts.map(([count, [unit]]) => `${count}${unit}`).join(' ');
        expect(readDuration(text)).toBe(parts.reduce((sum, [count, [, scale]]) => sum + count * scale, 0));
      }),
    );
  });
});

describe('readBitRate', () => {
  it.each([
    ['200M', 200_000],
    ['1.5G', 1_500_000],
    ['500 kbit/s', 500],
    ['64k', 64],
    ['400Gbps', 400_000_000],
    ['off', 0],
  ])('reads %s as %i kilobits a second', (text, kilobits) => {
    expect(readBitRate(text)).toBe(kilobits);
  });

  it.each(['', '200', '63k', '401G', '-5M', '10MB', '1e6M', 'fast'])('refuses "%s"', (text) => {
    expect(readBitRate(text)).toBeInstanceOf(Wrong);
  });
});

describe('readByteSize', () => {
  it.each([
    ['15 MiB', 15 * 2 ** 20],
    ['1.5 MiB', 1.5 * 2 ** 20],
    ['8MB', 8_000_000],
    ['64k', 64_000],
    ['64Ki', 65_536],
    ['65536', 65_536],
    ['1 gib', 2 ** 30],
  ])('reads %s', (text, bytes) => {
    expect(readByteSize(text)).toBe(bytes);
  });

  it.each(['', 'much', '1 TB', '-1', '1e6', '2 GiB'])('refuses %j', (text) => {
    expect(readByteSize(text)).toBeInstanceOf(Wrong);
  });
});

describe('readEndpoint', () => {
  it.each([
    ['10.9.0.2:27690', { host: '10.9.0.2', portNumber: 27_690 }],
    ['vpn.example:443', { host: 'vpn.example', portNumber: 443 }],
    ['[2001:db8::1]:1', { host: '2001:db8::1', portNumber: 1 }],
  ])('reads %s', (text, endpoint) => {
    expect(readEndpoint(text)).toEqual(endpoint);
  });

  it.each(['10.9.0.2', ':27690', 'vpn.example:', '2001:db8::1:443', '[vpn.example]:1', 'a:65536', 'a b:1', ''])(
    'refuses %j',
    (text) => {
      expect(readEndpoint(text)).toBeInstanceOf(Wrong);
    },
  );

  it('takes a literal address alone where a server binds', () => {
    expect(readBindAddress('[::]:27690')).toEqual({ host: '::', portNumber: 27_690 });
    expect(readBindAddress('vpn.example:27690')).toBeInstanceOf(Wrong);
    expect(readBindAddress(':27690')).toBeInstanceOf(Wrong);
  });
});

describe('readListenAddress', () => {
  it('takes a port alone for one of 127.0.0.1, and everything else as it is written', () => {
    expect(readListenAddress(' 9469 ')).toEqual({ host: '127.0.0.1', portNumber: 9_469 });
    expect(readListenAddress('0.0.0.0:9469')).toEqual({ host: '0.0.0.0', portNumber: 9_469 });
    expect(readListenAddress('[::1]:9469')).toEqual({ host: '::1', portNumber: 9_469 });
  });

  it.each(['', '65536', ':9469', 'localhost:9469', 'on'])('refuses %j', (text) => {
    expect(readListenAddress(text)).toBeInstanceOf(Wrong);
  });
});

describe('readCidr and readIpv4', () => {
  it('keep host bits, as the stock server takes 10.125.0.1/16', () => {
    expect(readCidr('10.125.0.1/16')).toEqual({ address: '10.125.0.1', prefix: 16 });
  });

  it.each(['10.125.0.0/33', '10.125.0/16', '10.125.0.0/', '10.0.0.0/8/8', '::/0', ''])(
    'refuse the network %j',
    (text) => {
      expect(readCidr(text)).toBeInstanceOf(Wrong);
    },
  );

  it.each(['256.1.1.1', '1.2.3', '::1', ''])('refuse the address %j', (text) => {
    expect(readIpv4(text)).toBeInstanceOf(Wrong);
  });
});

describe('readDeviceName', () => {
  it('takes what the kernel takes: 1 to 15 bytes without slash, space and colon', () => {
    expect(readDeviceName('lws')).toBe('lws');
    expect(readDeviceName('a'.repeat(15))).toBe('a'.repeat(15));
    for (const name of ['', 'a'.repeat(16), 'a/b', 'a b', 'a:b', '.', '..'])
      expect(readDeviceName(name)).toBeInstanceOf(Wrong);
  });
});

describe('nearest', () => {
  it('finds a slip of the hand and leaves strangers alone', () => {
    const keys = ['mode', 'user_db', 'tun_name', 'enable_expresslane'];
    expect(nearest('enable_expreslane', keys)).toBe('enable_expresslane');
    expect(nearest('tunname', keys)).toBe('tun_name');
    expect(nearest('completely_else', keys)).toBeUndefined();
  });
});

describe('groups', () => {
  it('reads names in order of preference, whatever their case', () => {
    expect(readGroups('x25519, SECP256R1,X25519MLKEM768')).toEqual([0x001d, 0x0017, 0x11ec]);
  });

  it.each(['', 'x25519,', 'p-256', 'x25519,x25519'])('refuses %j and names what there is', (written) => {
    expect((readGroups(written) as Wrong).expected).toMatch(/X25519MLKEM768, x25519, secp256r1/);
  });
});
