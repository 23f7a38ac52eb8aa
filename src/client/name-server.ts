/**
 * Whether anybody answers where this host will now ask for names: that is the server's own inside address, unless its operator has said otherwise, and
 * a server without a resolver leaves the host without names. Asked for the name servers of the root, which every resolver knows or refuses to tell.
 */
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';

const PORT_NUMBER = 53;
/** When it is asked, and when it is given up: the keeper needs a moment for the routes. */
const TIMES_MS: readonly number[] = [1_000, 2_000, 3_000, 5_000, 8_000];
/** RFC 1035 §4.1: recursion desired, one question: of the root, NS, IN. */
const QUESTION = Buffer.from([1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1]);
const IS_ANSWER = 0x80;

/** Keeps no process alive. Never rejects */
export function answersNames(address: string, times = TIMES_MS, portNumber = PORT_NUMBER): Promise<boolean> {
  const socket = createSocket('udp4'); // not connected: its source is chosen anew for each, when the routes have come
  const id = randomBytes(2);
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const timers = times.map((ms, i) =>
    setTimeout(() => {
      if (i === times.length - 1) resolve(false);
      else socket.send(Buffer.concat([id, QUESTION]), portNumber, address, () => {}); // unreachable is as good as silent
    }, ms).unref(),
  );
  socket.unref();
  socket.on('error', () => {});
  socket.on('message', (answer, from) => {
    const isOurs = from.address === address && from.port === portNumber && answer.subarray(0, 2).equals(id);
    if (isOurs && (answer[2] & IS_ANSWER) !== 0) resolve(true);
  });
  void promise.then(() => {
    for (const timer of timers) clearTimeout(timer);
    socket.close();
  });
  return promise;
}
