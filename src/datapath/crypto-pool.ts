/** What the crypto pool is given at its start. PEM as the keeper read it: keys never travel with a task. */
import { Piscina, queueOptionsSymbol, type TaskQueue } from 'piscina';

export type CryptoMaterial =
  | { role: 'server'; cert: string; key: string; userDb: string | null; tokenKey: string | null }
  | { role: 'client'; caCert: string; serverName: string };

/** Two threads: one slow operation (P-521: 9 ms, bcrypt: more) must not hold up every other handshake. */
const THREADS = 2;

export function createCryptoPool(material: CryptoMaterial, threads = THREADS): Piscina {
  return new Piscina({
    filename: new URL('../../workers/crypto.ts', import.meta.url).href,
    workerData: material,
    minThreads: 1,
    maxThreads: threads,
    idleTimeout: 30_000,
    atomics: 'disabled',
    taskQueue: new PatientLast(),
    stricterFIFO: true, // what a full pool gives back stays in front
  });
}

/** A job that waits until no other does: a password hash takes a hundred times as long as a step of a handshake. */
export function patient<Job extends object>(job: Job): Job {
  return Object.assign(job, { [queueOptionsSymbol]: PATIENT });
}

const PATIENT = Object.freeze({});
type Waiting = NonNullable<ReturnType<TaskQueue['shift']>>;

/** Of so many jobs one is a patient one where any waits, so that neither kind can starve the other. */
const TURN = 4;

/** In order of arrival, but patient jobs behind others: a flood of guessed passwords must not keep people from connecting. */
class PatientLast implements TaskQueue {
  readonly #first: Waiting[] = [];
  readonly #last: Waiting[] = [];
  #taken = 0;

  get size(): number {
    return this.#first.length + this.#last.length;
  }

  push(job: Waiting): void {
    this.#queueOf(job).push(job);
  }

  shift(): Waiting | null {
    const isTurn = ++this.#taken % TURN === 0;
    const job = isTurn ? (this.#last.shift() ?? this.#first.shift()) : (this.#first.shift() ?? this.#last.shift());
    return job ?? null;
  }

  /** The pool takes one more than it has a thread for, and gives it back. */
  unshift(job: Waiting): void {
    this.#taken--;
    this.#queueOf(job).unshift(job);
  }

  remove(job: Waiting): void {
    const queue = this.#queueOf(job);
    queue.splice(queue.indexOf(job), 1);
  }

  #queueOf(job: Waiting): Waiting[] {
    return job[queueOptionsSymbol] === PATIENT ? this.#last : this.#first;
  }
}
