/** The peers' programs and certificates, made on demand by peers.sh. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = fileURLToPath(new URL('.', import.meta.url));
const PEERS = join(HERE, '../../.cache/peers');
const CERTIFICATES = join(PEERS, 'certificates');
const NSS = join(PEERS, 'nss');
const WOLFSSL = join(PEERS, 'wolfssl/w');

export function makePeers(): void {
  execFileSync('bash', [join(HERE, 'peers.sh')], { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** Self-signed: leaf and trust anchor at once. */
export function certificate(name: string): { der: Uint8Array; privateKey: KeyObject; crt: string; key: string } {
  const [crt, key] = [join(CERTIFICATES, `certs/${name}.crt`), join(CERTIFICATES, `certs/${name}.key`)];
  const der = new Uint8Array(new X509Certificate(readFileSync(crt)).raw);
  return { der, privateKey: createPrivateKey(readFileSync(key)), crt, key };
}

/** A program under way, with everything it has said. */
export class Peer {
  text = '';
  readonly #child: ChildProcess;
  readonly #exit: Promise<number | null>;
  readonly #watchers: Array<() => void> = [];

  constructor(file: string, args: readonly string[], cwd: string, env: Record<string, string> = {}) {
    this.#child = spawn(file, args, { cwd, env: { ...process.env, ...env }, stdio: ['pipe', 'pipe', 'pipe'] });
    const listen = (chunk: Buffer): void => {
      this.text += chunk.toString();
      for (const watch of this.#watchers) watch();
    };
    this.#child.stdout?.on('data', listen);
    this.#child.stderr?.on('data', listen);
    this.#exit = once(this.#child, 'close').then(([code]) => code as number | null);
  }

  /** Resolves when it has said this. */
  async said(pattern: RegExp): Promise<void> {
    const heard = new Promise<void>((resolve) => {
      const watch = (): void => {
        if (pattern.test(this.text)) resolve();
      };
      this.#watchers.push(watch);
      watch();
    });
    const gone = this.#exit.then((code) => {
      if (!pattern.test(this.text))
        throw new Error(`the peer ended with ${code} before it said ${pattern}:\n${this.text}`);
    });
    await Promise.race([heard, gone]);
  }

  exit(): Promise<number | null> {
    return this.#exit;
  }

  kill(): void {
    this.#child.kill();
  }
}

export function nss(role: 'client' | 'server', args: readonly string[]): Peer {
  const env = { LD_LIBRARY_PATH: join(NSS, 'ff/usr/lib/firefox-esr') };
  return new Peer(join(NSS, `nss_${role}`), ['-d', `sql:${join(CERTIFICATES, 'db')}`, ...args], NSS, env);
}

export function wolfssl(role: 'client' | 'server', args: readonly string[]): Peer {
  return new Peer('stdbuf', ['-oL', join(WOLFSSL, `examples/${role}/${role}`), '-u', '-v', '4', ...args], WOLFSSL);
}

/** A UDP port that was free a moment ago: for peers that want a number. */
let next = 21_000 + (process.pid % 5_000);
export function freePort(): number {
  return next++;
}
