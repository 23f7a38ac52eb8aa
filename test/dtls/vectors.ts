/** Appendix B of the protocol specification, read out of the page itself: a handshake between two wolfSSL peers. */
import { readFileSync } from 'node:fs';

const page = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8');
const appendix = page.slice(page.indexOf('## Appendix B.'), page.indexOf('## Appendix C.'));

/** B.1 to B.16, at index 0 to 15. */
export const DATAGRAMS: readonly Buffer[] = [...appendix.matchAll(/^# B\.\d+ .*\n([0-9a-f]+)$/gm)].map(([, hex]) =>
  Buffer.from(hex, 'hex'),
);

/** Traffic secrets 1 to 4 at index 0 to 3: client and server handshake, client and server application. */
export const SECRETS: readonly Buffer[] = [...appendix.matchAll(/^\| \d \w+_traffic\w* \| `([0-9a-f]+)` \|$/gm)].map(
  ([, hex]) => Buffer.from(hex, 'hex'),
);

/** Key, IV and record-number key of each of them. */
export const KEYS: ReadonlyArray<readonly string[]> = [
  ...appendix.matchAll(/^\| \d \| `([0-9a-f]+)` \| `([0-9a-f]+)` \| `([0-9a-f]+)` \|$/gm),
].map(([, ...parts]) => parts.slice(0, 3));

/** The value in backquotes after a phrase. */
export function valueAfter(phrase: string): Buffer {
  const found = new RegExp(`${phrase}[^\`]*\`([0-9a-f ]+)\``).exec(appendix);
  if (found === null) throw new Error(`no value after "${phrase}" in appendix B`);
  return Buffer.from(found[1].replaceAll(' ', ''), 'hex');
}
