/**
 * The vault whose secrets never enter JavaScript memory: handles over `native/secret`, in locked memory that no core dump shows,
 * zeroed by `destroy` and at the latest when the handle is collected.
 */
import type { Addon, RecordKeysHandle, SecretHandle } from '../native/index.ts';
import type { HashName, OpenedRecord, RecordKeys, Secret, Vault } from './vault.ts';

class NativeSecret implements Secret {
  readonly hash: HashName;
  readonly handle: SecretHandle;
  readonly #addon: Addon;

  constructor(addon: Addon, hash: HashName, handle: SecretHandle) {
    this.#addon = addon;
    this.hash = hash;
    this.handle = handle;
  }

  destroy(): void {
    this.#addon.secretDestroy(this.handle);
  }
}

class NativeRecordKeys implements RecordKeys {
  readonly suite: number;
  readonly handle: RecordKeysHandle;
  readonly #addon: Addon;

  constructor(addon: Addon, suite: number, handle: RecordKeysHandle) {
    this.#addon = addon;
    this.suite = suite;
    this.handle = handle;
  }

  destroy(): void {
    this.#addon.recordKeysDestroy(this.handle);
  }
}

/** The handle behind a secret of a native vault, for `slotInstall`, which consumes it. @throws TypeError for another vault's */
export function secretHandle(secret: Secret): SecretHandle {
  if (secret instanceof NativeSecret) return secret.handle;
  throw new TypeError('Expected a secret of the native vault');
}

function keysHandle(keys: RecordKeys): RecordKeysHandle {
  if (keys instanceof NativeRecordKeys) return keys.handle;
  throw new TypeError('Expected record keys of the native vault');
}

/** Secrets and keys of one vault belong to the thread that made them. */
export function createNativeVault(addon: Addon): Vault {
  const handleOf = (secret: Secret | undefined) => (secret === undefined ? undefined : secretHandle(secret));
  return {
    digest: (hash, chunks) => addon.digest(hash, chunks),
    importSecret: (hash, bytes): Secret => new NativeSecret(addon, hash, addon.secretImport(hash, bytes)),
    extract: (hash, salt, ikm): Secret =>
      new NativeSecret(addon, hash, addon.secretExtract(hash, handleOf(salt), handleOf(ikm))),
    expand: (secret, label, context): Secret =>
      new NativeSecret(addon, secret.hash, addon.secretExpand(secretHandle(secret), label, context)),
    finished: (secret, transcriptHash) => addon.secretFinished(secretHandle(secret), transcriptHash),
    recordKeys: (suite, secret): RecordKeys =>
      new NativeRecordKeys(addon, suite, addon.recordKeys(suite, secretHandle(secret))),
    sealRecord: (keys, epoch, sequence, contentType, content) =>
      addon.recordSeal(keysHandle(keys), epoch, sequence, contentType, content),
    openRecord: (keys, record, expected): OpenedRecord | undefined =>
      addon.recordOpen(keysHandle(keys), record, expected),
    equal: (a, b) => addon.constantTimeEqual(a, b),
    hmacSha256: (key, message) => addon.hmacSha256(secretHandle(key), message),
  };
}
