import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { afterEach, describe, expect, it } from 'vitest';
import { answersNames } from '../../src/client/name-server.ts';

const ADDRESS = '127.0.0.1';
const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.close();
});

/** @returns the port of somebody who does so with each question */
function listen(answer: (socket: Socket, question: Buffer, from: RemoteInfo) => void): Promise<number> {
  const socket = createSocket('udp4');
  sockets.push(socket);
  socket.on('message', (question, from) => answer(socket, question, from));
  return new Promise((resolve) => socket.bind(0, ADDRESS, () => resolve(socket.address().port)));
}

const reply = (question: Buffer) =>
  Buffer.concat([question.subarray(0, 2), Buffer.from([0x81, 5]), question.subarray(4)]);

describe('answersNames', () => {
  it('is true where somebody answers, be it with a refusal, and sends a question of the root for its name servers', async () => {
    const questions: Buffer[] = [];
    const port = await listen((socket, question, from) => {
      questions.push(question);
      socket.send(reply(question), from.port, from.address);
    });
    expect(await answersNames(ADDRESS, [1, 60_000], port)).toBe(true);
    expect(questions.map((question) => question.subarray(2).toString('hex'))).toEqual([
      '010000010000000000000000020001',
    ]);
  });

  it('asks again, and hears the second answer', async () => {
    let asked = 0;
    const port = await listen((socket, question, from) => {
      if (++asked === 2) socket.send(reply(question), from.port, from.address);
    });
    expect(await answersNames(ADDRESS, [1, 2, 60_000], port)).toBe(true);
  });

  it.each([
    ['nobody answers', () => {}],
    [
      'the answer is to another question',
      (s: Socket, q: Buffer, f: RemoteInfo) => s.send(reply(q).fill(0, 0, 2).fill(~q[0], 0, 1), f.port, f.address),
    ],
    ['it is the question', (s: Socket, q: Buffer, f: RemoteInfo) => s.send(q, f.port, f.address)],
    ['it is half an answer', (s: Socket, q: Buffer, f: RemoteInfo) => s.send(q.subarray(0, 1), f.port, f.address)],
    [
      'another answers',
      (_: Socket, q: Buffer, f: RemoteInfo) => {
        const other = createSocket('udp4');
        sockets.push(other);
        other.send(reply(q), f.port, f.address);
      },
    ],
  ])('is false where %s', async (_what, answer) => {
    const port = await listen(answer);
    expect(await answersNames(ADDRESS, [1, 200], port)).toBe(false);
  });
});
