/** What the demo shows: a block that is drawn over itself on a terminal, a line a second anywhere else. Fits 80 columns. */
import { styleText } from 'node:util';
import logUpdate from 'log-update';
import type { Reading } from './meter.ts';

export interface Row {
  readonly name: string;
  /** Why there are no figures. */
  readonly failure?: string;
  readonly pingMs?: number;
  readonly upBitsPerSecond?: number;
  readonly downBitsPerSecond?: number;
  readonly whole?: Reading;
}

const BARS = '▁▂▃▄▅▆▇█';
const NARROWEST = 80;
const SHORTEST_SECONDS = 0.1; // a reading over less says nothing

export class Screen {
  readonly #live = process.stdout.isTTY === true && process.stdout.rows > 8; // some pseudo-terminals have no height
  readonly #history: number[] = [];
  #lastLine = 0;
  #over = false;

  /** A line that stays. */
  say(line: string): void {
    if (this.#live) logUpdate.clear();
    console.log(line);
  }

  /** The reading of the moment. */
  show(name: string, direction: 'up' | 'down', reading: Reading): void {
    if (this.#over || reading.seconds < SHORTEST_SECONDS) return;
    const speed = (reading.upBits + reading.downBits) / reading.seconds;
    if (!this.#live) {
      this.#lineASecond(inOneLine(name, direction, reading));
      return;
    }
    const columns = Math.max(NARROWEST, process.stdout.columns);
    this.#history.push(speed);
    if (this.#history.length > columns - 4) this.#history.shift();
    const highest = Math.max(...this.#history, 1);
    const curve = this.#history.map((value) => BARS[Math.min(7, Math.floor((value / highest) * 8))]).join('');
    const phase = direction === 'up' ? 'client → net' : 'net → client';
    logUpdate(`${styleText('bold', name)}  ${phase}\n  ${inWords(reading)}\n  ${styleText('cyan', curve)}\n`);
  }

  /** Forgets the curve: another tunnel begins. */
  next(): void {
    this.#history.length = 0;
  }

  /** Nothing is shown any more; what was drawn over is taken away. */
  done(): void {
    this.#over = true;
    if (this.#live) logUpdate.clear();
  }

  #lineASecond(line: string): void {
    if (performance.now() - this.#lastLine < 950) return;
    this.#lastLine = performance.now();
    console.log(line);
  }
}

function inWords(reading: Reading): string {
  const { rate, packets, calls, server, client } = figures(reading);
  return [rate, ...(packets ? [`${packets} packets/s`, `${calls} a call`] : []), `CPU ${server} + ${client} %`].join(
    '  ',
  );
}

/** For what is no terminal. */
export function inOneLine(name: string, direction: 'up' | 'down', reading: Reading): string {
  const { rate, packets, calls, server, client } = figures(reading);
  const counted = packets ? [`${packets.padStart(7)} packets/s`, `${calls.padStart(5)}/call`] : [];
  const start = `  ${name.padEnd(20)} ${direction === 'up' ? '↑' : '↓'} ${rate.padStart(12)}`;
  return [start, ...counted, `CPU ${server}+${client} %`].join(' ');
}

function figures({ upBits, downBits, seconds, packets, systemCalls, serverCpu, clientCpu }: Reading) {
  const percent = (busy: number) => String(Math.round((busy / seconds) * 100));
  return {
    rate: bits((upBits + downBits) / seconds),
    packets: packets === undefined ? '' : amount(packets / seconds),
    calls: perCall(packets, systemCalls),
    server: percent(serverCpu),
    client: percent(clientCpu),
  };
}

export function bits(perSecond: number): string {
  return perSecond >= 1e9 ? `${(perSecond / 1e9).toFixed(2)} Gbit/s` : `${(perSecond / 1e6).toFixed(1)} Mbit/s`;
}

function amount(value: number): string {
  return value >= 1e6
    ? `${(value / 1e6).toFixed(2)} M`
    : value >= 1e3
      ? `${(value / 1e3).toFixed(1)} k`
      : value.toFixed(0);
}

function perCall(packets: number | undefined, systemCalls: number | undefined): string {
  return packets === undefined || !systemCalls ? '–' : (packets / systemCalls).toFixed(1);
}

const COLUMNS: readonly (readonly [title: string, unit: string, (row: Row) => string])[] = [
  ['', '', ({ name }) => name],
  ['ping', 'ms', ({ pingMs }) => (pingMs === undefined ? '–' : pingMs.toFixed(2))],
  ['up', 'Gbit/s', ({ upBitsPerSecond: up }) => gigabits(up)],
  ['down', 'Gbit/s', ({ downBitsPerSecond: down }) => gigabits(down)],
  ['packets', '', ({ whole }) => (whole?.packets === undefined ? '–' : amount(whole.packets))],
  ['packets', 'a call', ({ whole }) => perCall(whole?.packets, whole?.systemCalls)],
  ['server', 's/GB', ({ whole }) => (whole ? perGigabyte(whole.serverCpu, whole) : '–')],
  ['client', 's/GB', ({ whole }) => (whole ? perGigabyte(whole.clientCpu, whole) : '–')],
];

function gigabits(perSecond: number | undefined): string {
  return perSecond === undefined ? '–' : (perSecond / 1e9).toFixed(perSecond < 1e8 ? 4 : 2);
}

/** CPU seconds. */
function perGigabyte(cpu: number, { upBits, downBits }: Reading): string {
  return ((cpu * 8e9) / Math.max(1, upBits + downBits)).toFixed(2);
}

/** The summary: a row a mode, and below it why a mode has none. */
export function table(rows: readonly Row[]): string {
  const head = [COLUMNS.map(([title]) => title), COLUMNS.map(([, unit]) => unit)];
  const cells = [...head, ...rows.map((row) => COLUMNS.map(([, , cell]) => cell(row)))];
  const widths = COLUMNS.map((_, column) => Math.max(...cells.map((line) => line[column].length)));
  const lines = cells.map((line) =>
    line.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))).join('  '),
  );
  lines.splice(head.length, 0, '─'.repeat(Math.max(...lines.map((line) => line.length))));
  const failures = rows
    .filter(({ failure }) => failure !== undefined)
    .map(({ name, failure }) => `${name}: ${failure}`);
  return [...lines, ...failures].join('\n');
}
