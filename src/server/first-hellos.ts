/**
 * The addon's listener on a shard: retries and alerts for the first ClientHellos of a vector in one call, without an object for any. It judges
 * each as `answerHello` does, which hears what is left: hellos with a cookie, and datagrams from the address of a session.
 */
import { GROUPS } from '../crypto/groups.ts';
import { type Batches, nativeBatch } from '../datapath/batches.ts';
import type { Addon, LanesHandle, ListenerHandle, SecretHandle } from '../native/index.ts';
import type { Micros } from '../wire/time.ts';

export interface FirstHelloOptions {
  readonly addon: Addon;
  readonly lanes: LanesHandle;
  /** That of the CookieSecrets which open these cookies. */
  readonly seed: Uint8Array;
  readonly suites: readonly number[];
  readonly groups: readonly number[];
  readonly schemes: readonly number[];
  /** As ListenerOptions has it. */
  readonly amplification?: number;
}

export class FirstHellos {
  readonly #addon: Addon;
  readonly #listener: ListenerHandle;

  /** @param options.groups of GROUPS */
  constructor({ addon, lanes, seed, suites, groups, schemes, amplification }: FirstHelloOptions) {
    this.#addon = addon;
    const shareLengths = groups.map((group) => GROUPS.get(group)?.clientShareLength ?? 0);
    const secret: SecretHandle = addon.secretImport('sha256', seed);
    this.#listener = addon.createListener(lanes, secret, { suites, groups, shareLengths, schemes, amplification });
    addon.secretDestroy(secret);
  }

  /** @returns how many of the strangers in the trains from `first` to before `end` it has judged */
  answer(now: Micros, { packets, trainsIn, trainsOut }: Batches, first: number, end: number): number {
    const answers = nativeBatch(trainsOut);
    return this.#addon.answerHellos(
      this.#listener,
      nativeBatch(packets),
      nativeBatch(trainsIn),
      answers,
      now,
      first,
      end,
    );
  }

  /** Those that got no retry, by reason. */
  get drops(): Record<string, number> {
    const counted = Object.entries(this.#addon.listenerCounters(this.#listener));
    return Object.fromEntries(counted.filter(([name, times]) => name !== 'retry' && times > 0));
  }
}
