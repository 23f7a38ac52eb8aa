/**
 * The addresses of a name, asked for in a process of its own: getaddrinfo takes as long as the name servers let it wait, cannot be
 * interrupted, and process.exit() waits for the thread that is in it.
 */
import { spawn } from 'node:child_process';
import type { LookupAddress } from 'node:dns';
import { withoutSecrets } from './engine-process.ts';

const ASK = `require('node:dns').lookup(process.argv[1], { all: true, order: 'ipv4first' }, (error, found) =>
  console.log(JSON.stringify(error ? { code: error.code } : { found })))`;

type Answer = { readonly found: LookupAddress[] } | { readonly code: string };

/**
 * @returns at least one, IPv4 first
 * @throws Error with the resolver's `code`, such as ENOTFOUND; never settles once `signal` was given
 */
export function lookUp(host: string, signal: AbortSignal): Promise<LookupAddress[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['-e', ASK, host], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: withoutSecrets(process.env),
      detached: true, // Ctrl-C is the keeper's to answer
    });
    const kill = () => void child.kill('SIGKILL');
    signal.addEventListener('abort', kill);
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (more: string) => {
      text += more;
    });
    child.once('error', reject);
    child.once('close', () => {
      signal.removeEventListener('abort', kill);
      if (signal.aborted) return;
      const answer: Answer = text === '' ? { code: 'an error' } : JSON.parse(text);
      if ('found' in answer) resolve(answer.found);
      else reject(Object.assign(new Error(`lookup ${host}`), { code: answer.code }));
    });
  });
}
