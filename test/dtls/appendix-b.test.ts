import { createHash, createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Group } from '../../src/crypto/groups.ts';
import { Scheme } from '../../src/crypto/schemes.ts';
import { Suite } from '../../src/crypto/vault.ts';
import { CookieSecrets } from '../../src/dtls/cookie.ts';
import { decodeFragments, encodeFragments, transcriptForm } from '../../src/dtls/handshake.ts';
import {
  cookieOf,
  decodeClientHello,
  decodeServerHello,
  encodeClientHello,
  encodeRetry,
  encodeServerHello,
  RETRY_RANDOM,
  type ServerHello,
} from '../../src/dtls/hello.ts';
import { answerHello } from '../../src/dtls/listener.ts';
import { createMemoryProtection } from '../../src/dtls/memory-protection.ts';
import { decodeAck, decodeKeyUpdate, encodeAck } from '../../src/dtls/messages.ts';
import { ContentType, encodePlaintext, splitRecords } from '../../src/dtls/records.ts';
import { messageHash, Transcript } from '../../src/dtls/transcript.ts';
import { ADDRESS, vault } from './pair.ts';
import { DATAGRAMS, SECRETS, valueAfter } from './vectors.ts';

/** The one handshake message in a plaintext datagram. */
function plainMessage(index: number): { type: number; body: Uint8Array; sequence: number } {
  const [record] = splitRecords(DATAGRAMS[index]);
  if (record.kind !== 'plaintext') throw new Error('not plaintext');
  const [fragment] = decodeFragments(record.content);
  const again = encodeFragments(fragment, fragment.length);
  expect(Buffer.from(encodePlaintext(ContentType.handshake, record.sequence, again[0]))).toEqual(DATAGRAMS[index]);
  return fragment;
}

function protection() {
  const from = (index: number) => vault.importSecret('sha384', SECRETS[index]);
  const client = createMemoryProtection(vault);
  const server = createMemoryProtection(vault);
  for (const [side, send, receive] of [[client, 0, 1] as const, [server, 1, 0] as const]) {
    for (const epoch of [2, 3]) {
      side.install('send', epoch, Suite.aes256, from(send + (epoch - 2) * 2));
      side.install('receive', epoch, Suite.aes256, from(receive + (epoch - 2) * 2));
    }
  }
  return { client, server };
}

/** Opens datagram B.`number` at its receiver. */
function open(side: ReturnType<typeof createMemoryProtection>, number: number) {
  const opened = side.open(DATAGRAMS[number - 1]);
  if (opened === undefined || opened === 'replayed') throw new Error(`B.${number} does not open`);
  return opened;
}

describe('appendix B of the protocol specification', () => {
  it('has its hellos read and written byte for byte', () => {
    for (const index of [0, 2]) {
      const { body } = plainMessage(index);
      expect(encodeClientHello(decodeClientHello(body))).toEqual(new Uint8Array(body));
    }
    for (const index of [1, 3]) {
      const { body } = plainMessage(index);
      expect(encodeServerHello(decodeServerHello(body))).toEqual(new Uint8Array(body));
    }
    const retry = decodeServerHello(plainMessage(1).body);
    const cookie = cookieOf(retry.extensions)!;
    expect(Buffer.from(retry.random)).toEqual(RETRY_RANDOM);
    expect(encodeRetry(retry.sessionId, retry.suite, Group.secp256r1, cookie)).toEqual(
      new Uint8Array(plainMessage(1).body),
    );
  });

  it('opens in order, verifies both Finished, and goes on after the key update', () => {
    const { client, server } = protection();
    const transcript = new Transcript(vault);
    const hello = plainMessage(0);
    transcript.add(hello.type, hello.body);
    transcript.fold(Suite.aes256);
    for (const index of [1, 2, 3]) transcript.add(plainMessage(index).type, plainMessage(index).body);
    for (const number of [5, 6, 7, 8]) {
      const [message] = decodeFragments(open(client, number).content);
      if (number === 8) {
        const expected = vault.finished(vault.importSecret('sha384', SECRETS[1]), transcript.hash(Suite.aes256));
        expect(Buffer.from(message.body)).toEqual(Buffer.from(expected));
      }
      transcript.add(message.type, message.body);
    }
    const [finished] = decodeFragments(open(server, 9).content);
    const expected = vault.finished(vault.importSecret('sha384', SECRETS[0]), transcript.hash(Suite.aes256));
    expect(Buffer.from(finished.body)).toEqual(Buffer.from(expected));

    const ack = open(client, 10);
    expect(decodeAck(ack.content)).toEqual([{ epoch: 2, sequence: 0 }]);
    expect(encodeAck([{ epoch: 2, sequence: 0 }])).toEqual(ack.content);
    expect(Buffer.from(open(server, 11).content).toString()).toBe('x'.repeat(100));
    expect(decodeKeyUpdate(decodeFragments(open(client, 12).content)[0].body)).toBe(true);
    expect(decodeKeyUpdate(decodeFragments(open(server, 13).content)[0].body)).toBe(false);
    expect(decodeAck(open(server, 14).content)).toEqual([{ epoch: 3, sequence: 1 }]);
    expect(decodeAck(open(client, 15).content)).toEqual([{ epoch: 3, sequence: 1 }]);
    expect(server.update('receive')).toBe(4);
    expect(open(server, 16)).toMatchObject({ epoch: 4, sequence: 0, contentType: ContentType.alert });
    expect(server.open(DATAGRAMS[15])).toBe('replayed');
    expect(server.open(DATAGRAMS[10])).toBe('replayed');
  });

  it('derives the finished keys it prints', () => {
    const hash = createHash('sha384').update('any transcript').digest();
    for (const [phrase, index] of [
      ['finished key of 2:', 1],
      ['finished key of 1:', 0],
    ] as const) {
      const expected = createHmac('sha384', valueAfter(phrase)).update(hash).digest();
      expect(Buffer.from(vault.finished(vault.importSecret('sha384', SECRETS[index]), hash))).toEqual(expected);
    }
  });

  it('gets from our listener the retry it got from wolfSSL, but for the cookie', () => {
    const secrets = new CookieSecrets(vault, new Uint8Array(32));
    const suites = [Suite.aes256];
    const options = {
      vault,
      secrets,
      suites,
      groups: [Group.secp256r1],
      schemes: [Scheme.ecdsaSecp256r1Sha256],
      applicationData: (seed: Uint8Array) => seed,
    };
    const answer = answerHello(0, DATAGRAMS[0], ADDRESS, options);
    if (answer.kind !== 'retry') throw new Error(answer.kind);
    const theirs = decodeServerHello(plainMessage(1).body);
    const [record] = splitRecords(answer.bytes);
    if (record.kind !== 'plaintext') throw new Error('not plaintext');
    const ours = decodeServerHello(decodeFragments(record.content)[0].body);
    expect([...ours.extensions.keys()]).toEqual([...theirs.extensions.keys()]);
    const withoutExtensions = (hello: ServerHello) => encodeServerHello({ ...hello, extensions: new Map() });
    expect(withoutExtensions(ours)).toEqual(withoutExtensions(theirs));
    expect(record.sequence).toBe(0);
    expect(answerHello(59_000_000, DATAGRAMS[0], ADDRESS, options)).toEqual(answer);
  });

  it('begins its transcript with the hash of the first ClientHello', () => {
    const form = transcriptForm(1, plainMessage(0).body);
    const expected = Buffer.concat([Buffer.from('fe000030', 'hex'), createHash('sha384').update(form).digest()]);
    expect(Buffer.from(messageHash(vault.digest('sha384', [form])))).toEqual(expected);
  });
});
