/**
 * Public-key work as plain messages, so that a shard can hand it to the crypto pool and go on. Takes milliseconds at worst
 * (P-521, RSA), which is why it never runs on a shard.
 */
import type { KeyObject } from 'node:crypto';
import { verifyPeer } from './certificates.ts';
import { decapsulate, encapsulate, generate } from './key-exchange.ts';
import { Refusal } from './refusal.ts';
import { sign } from './signatures.ts';

export type CryptoTask =
  | { op: 'keygen'; group: number }
  | { op: 'encapsulate'; group: number; peerShare: Uint8Array }
  | { op: 'decapsulate'; group: number; privateKey: Uint8Array; peerShare: Uint8Array }
  | { op: 'sign'; scheme: number; content: Uint8Array }
  /** `chain` is DER, leaf first, as the peer sent it. */
  | { op: 'verifyPeer'; chain: readonly Uint8Array[]; scheme: number; content: Uint8Array; signature: Uint8Array };

export type TaskResult =
  /** `privateKey` comes back in a `decapsulate` task; zero it after that. */
  | { op: 'keygen'; privateKey: Uint8Array; share: Uint8Array }
  | { op: 'encapsulate'; share: Uint8Array; secret: Uint8Array }
  | { op: 'decapsulate'; secret: Uint8Array }
  | { op: 'sign'; signature: Uint8Array }
  | { op: 'verifyPeer' }
  /** The peer is at fault, or the key cannot do it: the alert to send and a sentence for the log. */
  | { op: 'refused'; alert: number; reason: string };

export interface ServerCredentials {
  /** DER, leaf first. */
  readonly certificateChain: readonly Uint8Array[];
  readonly privateKey: KeyObject;
}

export interface ClientCredentials {
  /** DER of the certificates that are trusted as they are. */
  readonly trustAnchors: readonly Uint8Array[];
  /** Checked only when it is set and not empty, as stock clients do (protocol specification §2.11). */
  readonly serverName?: string | undefined;
  /** Wall-clock time in ms since 1970, asked for at each verification. */
  readonly now: () => number;
}

export type Credentials = Partial<ServerCredentials & ClientCredentials>;

/** Does one task. What the peer got wrong comes back as `refused`; throws only if this side's own configuration is wrong. */
export function runTask(task: CryptoTask, credentials: Credentials): TaskResult {
  try {
    switch (task.op) {
      case 'keygen':
        return { op: 'keygen', ...generate(task.group) };
      case 'encapsulate':
        return { op: 'encapsulate', ...encapsulate(task.group, task.peerShare) };
      case 'decapsulate':
        return { op: 'decapsulate', secret: decapsulateOnce(task) };
      case 'sign':
        return { op: 'sign', signature: sign(task.scheme, task.content, credentials.privateKey) };
      case 'verifyPeer':
        verifyPeer(task, credentials);
        return { op: 'verifyPeer' };
    }
  } catch (error) {
    if (error instanceof Refusal) return { op: 'refused', alert: error.alert, reason: error.message };
    throw error;
  }
}

function decapsulateOnce({ group, privateKey, peerShare }: CryptoTask & { op: 'decapsulate' }): Uint8Array {
  try {
    return decapsulate(group, privateKey, peerShare);
  } finally {
    privateKey.fill(0);
  }
}
