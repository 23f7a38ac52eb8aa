/**
 * The engine's end of the channel to its keeper. An engine's last line is
 *
 *     await runEngine('server', (addon, keeper, start) => ...);      // `start`: everything it may use
 *
 * in which
 *
 *     keeper.send({ type: 'ready' });
 *     keeper.onStatistics(async () => ({ ... }));         // when an operator asks
 *     keeper.onStop(async () => { goodbye to all });      // exits 0 afterwards
 *     keeper.onYield(async () => { snapshots are in the table already });
 *
 * The engine ends when its keeper does, and leaves signals to it: a terminal's Ctrl-C and a service manager's SIGTERM reach both.
 */
import { RingwayError } from '../errors.ts';
import { type Addon, loadAddon } from '../native/index.ts';
import type { EngineStatistics } from '../observe/statistics.ts';
import type { EngineMessage, EngineStart, KeeperMessage } from './protocol.ts';
import { KEEPER_PROTOCOL } from './protocol.ts';

export interface Keeper {
  /** Says that this engine's code is loaded, and that a predecessor may go. */
  hello(): void;
  readonly started: Promise<EngineStart>;
  send(message: EngineMessage): void;
  /** Reports that another engine would fare no better, waits until the keeper has it, and exits 1. */
  fatal(error: RingwayError): Promise<never>;
  /** What to do before a graceful exit. Set at most once each; without one the engine exits at once. */
  onStop(last: () => void | Promise<void>): void;
  onYield(last: () => void | Promise<void>): void;
  /** Who counts. Set at most once; questions that came before are answered then. Without one the keeper stops waiting by itself. */
  onStatistics(gather: () => Promise<EngineStatistics>): void;
}

/**
 * An engine from its first line to its last. A refusal that is the addon's comes before the hello, so that a predecessor goes on.
 * @param run takes over; what it throws as a RingwayError ends the instance, not only this engine
 */
export async function runEngine<R extends EngineStart['role']>(
  role: R,
  run: (addon: Addon, keeper: Keeper, start: Extract<EngineStart, { role: R }>) => void,
): Promise<void> {
  const keeper = joinKeeper();
  try {
    const addon = loadAddon();
    addon.forbidDumps();
    keeper.hello();
    const start = await keeper.started;
    if (!isOf(role, start))
      throw new RingwayError('ENGINE_ROLE', `a ${start.role} was to be started as a ${role}`, 'report this');
    run(addon, keeper, start);
  } catch (error) {
    if (!(error instanceof RingwayError)) throw error;
    await keeper.fatal(error);
  }
}

function isOf<R extends EngineStart['role']>(role: R, start: EngineStart): start is Extract<EngineStart, { role: R }> {
  return start.role === role;
}

/** @throws RingwayError ENGINE_ALONE when this process was not started by a keeper */
export function joinKeeper(release = '0.1.0'): Keeper {
  const send = process.send?.bind(process) as
    | ((message: EngineMessage, handle: undefined, options: object, sent: () => void) => void)
    | undefined;
  if (!send)
    throw new RingwayError(
      'ENGINE_ALONE',
      'the engine was started without a keeper',
      'start it with: ringway server|client -c FILE',
    );

  let stop: () => void | Promise<void> = () => {};
  let yieldTo: () => void | Promise<void> = () => {};
  let gather: (() => Promise<EngineStatistics>) | undefined;
  const early: number[] = [];
  let began: (start: EngineStart) => void;
  const started = new Promise<EngineStart>((resolve) => {
    began = resolve;
  });

  const post = (message: EngineMessage, sent: () => void = () => {}) => {
    send(message, undefined, {}, sent);
  };
  const count = (id: number) => {
    if (!gather) early.push(id);
    gather?.().then(
      (statistics) => post({ type: 'statistics', id, statistics }),
      () => {}, // the keeper stops waiting by itself
    );
  };
  const leave = async (last: () => void | Promise<void>) => {
    await last();
    post({ type: 'stopped' }, () => process.exit(0));
  };

  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});
  process.on('disconnect', () => process.exit(1));
  process.on('message', (message: KeeperMessage) => {
    switch (message.type) {
      case 'start':
        return began(message);
      case 'stop':
        return void leave(stop);
      case 'yield':
        return void leave(yieldTo);
      case 'statistics':
        return count(message.id);
    }
  });

  return {
    hello: () => post({ type: 'hello', version: KEEPER_PROTOCOL, release }),
    started,
    send: (message) => post(message),
    fatal: (error) =>
      new Promise<never>(() => {
        post({ type: 'fatal', code: error.code, message: error.message, advice: error.advice }, () => process.exit(1));
      }),
    onStop: (last) => {
      stop = last;
    },
    onYield: (last) => {
      yieldTo = last;
    },
    onStatistics: (counter) => {
      gather = counter;
      early.splice(0).forEach(count);
    },
  };
}
