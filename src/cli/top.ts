/** `ringway top`: one running instance, live: a screen on a terminal, a line a second elsewhere, JSON for programs. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import logUpdate from 'log-update';
import { RingwayError } from '../errors.ts';
import { askStatistics, type Found, type Instance } from '../keeper/control.ts';
import { type Rates, ratesBetween } from '../observe/rates.ts';
import type { EngineStatistics } from '../observe/statistics.ts';
import { addSelection, type Selection, select } from './instances.ts';
import { topLine, topScreen } from './top-screen.ts';

const BEAT_MS = 1_000;

interface Flags extends Selection {
  readonly json?: boolean;
  readonly once?: boolean;
}

export function topCommand(): Command {
  const command = new Command('top')
    .description('show what a running instance does, once a second')
    .option('--json', 'one JSON object a second')
    .option('--once', 'look for one second, print once, end');
  return addSelection(command).action(async (flags: Flags) => {
    const leave = new AbortController();
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => leave.abort());
    process.stdout.on('error', () => leave.abort()); // whoever read it has gone
    await watch(one(await select(flags)), flags, leave.signal);
  });
}

/** @throws RingwayError KEEPER_SEVERAL */
function one(found: readonly Found[]): Found {
  if (found.length === 1) return found[0];
  const running = found.map(({ status }) => `${status.role} ${status.pid} (${status.configFile})`).join(', ');
  throw new RingwayError('KEEPER_SEVERAL', `several instances are running: ${running}`, 'name one with --pid or -c');
}

async function watch({ path }: Found, flags: Flags, leave: AbortSignal): Promise<void> {
  const show = display(flags);
  let before: Instance | undefined;
  for (let due = performance.now(); !leave.aborted; due += BEAT_MS) {
    await sleep(Math.max(0, due - performance.now()), undefined, { signal: leave }).catch(() => {});
    if (leave.aborted) break;
    const now = await askStatistics(path);
    const known = comparable(before, now);
    if (now.statistics === null) show(now, undefined);
    else if (known) show(now, ratesBetween(now.status.role, known, now.statistics));
    if (flags.once && (known || now.statistics === null)) break;
    before = now;
  }
  if (isLive(flags)) logUpdate.done(); // the cursor comes back, the last figures stay
}

/** What the same engine counted before; another one's counters have nothing to do with these. */
function comparable(before: Instance | undefined, now: Instance): EngineStatistics | undefined {
  return before?.status.generation === now.status.generation ? (before.statistics ?? undefined) : undefined;
}

function isLive(flags: Flags): boolean {
  return process.stdout.isTTY === true && !flags.json && !flags.once;
}

type Show = (instance: Instance, rates: Rates | undefined) => void;

function display(flags: Flags): Show {
  const columns = () => process.stdout.columns || 80;
  if (flags.json)
    return ({ status }, rates) =>
      console.log(JSON.stringify({ time: new Date().toISOString(), status, rates: rates ?? null }));
  if (flags.once) return ({ status }, rates) => console.log(topScreen(status, rates, [], columns()));
  if (!isLive(flags)) return ({ status }, rates) => console.log(topLine(status, rates));
  const history: number[] = [];
  return ({ status }, rates) => {
    history.push(rates ? rates.upBitsPerSecond + rates.downBitsPerSecond : 0);
    if (history.length > columns()) history.shift();
    logUpdate(fitting(topScreen(status, rates, history, columns())));
  };
}

/** Blank lines go where the terminal is too low for all. */
function fitting(screen: string): string {
  const lines = screen.split('\n');
  return lines.length < (process.stdout.rows || 24) ? screen : lines.filter((line) => line !== '').join('\n');
}
