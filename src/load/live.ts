/** What is shown while a run goes on: a screen that redraws itself on a terminal, a line a second elsewhere. */
import { styleText } from 'node:util';
import type { Micros } from '../wire/time.ts';
import { formatCount, formatRate, formatShare, formatTime } from './units.ts';

export interface Look {
  readonly phase: 'login' | 'warm-up' | 'measuring' | 'draining';
  /** Of the phase, 0 to 1. */
  readonly progress: number;
  readonly seconds: number;
  readonly online: number;
  readonly wanted: number;
  /** null: this way carries no load. */
  readonly upBits: number | null;
  readonly downBits: number | null;
  readonly loss: number;
  readonly p50: Micros | undefined;
  readonly p99: Micros | undefined;
  readonly p999: Micros | undefined;
  readonly cores: readonly number[];
  /** Datagrams per second of each shard of the server, where it tells. */
  readonly shards: readonly number[];
  /** The stage that is full, if one is. */
  readonly full: string | null;
}

const BLOCKS = ' ▁▂▃▄▅▆▇█';

/** A value from 0 to 1 as one character. */
function level(share: number): string {
  return BLOCKS[Math.max(0, Math.min(8, Math.round(share * 8)))];
}

export function sparkline(values: readonly number[], width: number): string {
  const last = values.slice(-width);
  const top = Math.max(...last, 0);
  return last.map((value) => (top === 0 ? BLOCKS[1] : level(Math.max(0.125, value / top)))).join('');
}

function bar(share: number, width: number): string {
  const full = Math.round(Math.max(0, Math.min(1, share)) * width);
  return '█'.repeat(full) + '░'.repeat(width - full);
}

/** As many as there is room for; the rest as a number. */
function abridge(parts: readonly string[], width: number): string {
  const gap = 3;
  const room = Math.max(1, Math.floor((width - 8) / (Math.max(...parts.map((part) => part.length), 1) + gap)));
  const shown = parts.slice(0, room).join(' '.repeat(gap));
  return parts.length > room ? `${shown} +${parts.length - room}` : shown;
}

const late = (us: Micros | undefined) => (us === undefined ? '–' : formatTime(us));

/** One line a second, for logs and CI. */
export function liveLine(look: Look): string {
  const { phase, seconds, online, wanted, upBits, downBits, loss, p50, p99, p999, cores, shards } = look;
  const parts = [`${seconds.toFixed(1).padStart(6)} s`, phase.padEnd(9), `${online}/${wanted} online`];
  if (phase !== 'login') {
    if (upBits !== null) parts.push(`up ${formatRate(upBits)}`);
    if (downBits !== null) parts.push(`down ${formatRate(downBits)}`);
    parts.push(`loss ${formatShare(loss)}`, `p50 ${late(p50)}`, `p99 ${late(p99)}`, `p99.9 ${late(p999)}`);
  }
  parts.push(`cpu ${cores.map((share) => `${Math.round(share * 100)}%`).join(' ')}`);
  if (shards.length > 0) parts.push(`shards ${shards.map((each) => `${formatCount(each)}/s`).join(' ')}`);
  if (look.full) parts.push(`full: ${look.full}`);
  return parts.join('  ');
}

/** The screen. @param history bits per second of every look so far, both ways together  @param width columns of the terminal */
export function liveScreen(title: string, look: Look, history: readonly number[], width: number): string {
  const inner = Math.max(20, Math.min(width, 100) - 12);
  const name = (text: string) => styleText('dim', text.padEnd(10));
  const lines = [
    styleText('bold', title),
    '',
    `${name(look.phase)}${bar(look.progress, Math.min(inner - 4, 50))} ${Math.round(look.progress * 100)} %`,
    `${name('clients')}${formatCount(look.online)} of ${formatCount(look.wanted)} online`,
  ];
  if (look.upBits !== null) lines.push(`${name('up')}${formatRate(look.upBits)}`);
  if (look.downBits !== null) lines.push(`${name('down')}${formatRate(look.downBits)}`);
  lines.push(
    `${name('')}${styleText('cyan', sparkline(history, inner))}`,
    `${name('loss')}${look.loss > 0 ? styleText('red', formatShare(look.loss)) : formatShare(0)}`,
    `${name('latency')}p50 ${late(look.p50)}   p99 ${late(look.p99)}   p99.9 ${late(look.p999)}`,
    `${name('cores')}${abridge(
      look.cores.map((share) => `${level(share)} ${String(Math.round(share * 100)).padStart(3)} %`),
      inner,
    )}`,
  );
  const most = Math.max(...look.shards, 1);
  if (look.shards.length > 0)
    lines.push(
      `${name('shards')}${abridge(
        look.shards.map((each) => `${level(each / most)} ${formatCount(each)}/s`),
        inner,
      )}`,
    );
  if (look.full) lines.push(`${name('full')}${styleText('yellow', look.full)}`);
  lines.push('', styleText('dim', 'Ctrl-C ends early and still reports'));
  return lines.join('\n');
}
