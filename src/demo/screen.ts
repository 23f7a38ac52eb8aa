/** What the demo shows: a block that is drawn over itself on a terminal, a line a second anywhere else. */
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
const HISTORY = 40;
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
  show(name: string, phase: string, reading: Reading): void {
    if (this.#over || reading.seconds < SHORTEST_SECONDS) return;
    const speed = (reading.upBits + reading.downBits) / reading.seconds;
    if (!this.#live) {
      this.#lineASecond(`${name}, ${phase}: ${figures(reading)}`);
      return;
    }
    this.#history.push(speed);
    if (this.#history.length > HISTORY) this.#history.shift();
    const highest = Math.max(...this.#history, 1);
    const curve = this.#history.map((value) => BARS[Math.min(7, Math.floor((value / highest) * 8))]).join('');
    logUpdate(`${styleText('bold', name)}  ${phase}\n  ${figures(reading)}\n  ${styleText('cyan', curve)}\n`);
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
    console.log(`  ${line}`);
  }
}

function figures(reading: Reading): string {
  const percent = (seconds: number) => `${Math.round((seconds / reading.seconds) * 100)} %`;
  const { packets, systemCalls, seconds } = reading;
  const packetFigures =
    packets === undefined
      ? ''
      : `  ${amount(packets / seconds)} packets/s  ${perCall(packets, systemCalls)} packets/system call`;
  const cpu = `CPU server ${percent(reading.serverCpu)} client ${percent(reading.clientCpu)}`;
  return `${bits((reading.upBits + reading.downBits) / seconds)}${packetFigures}  ${cpu}`;
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

const COLUMNS: readonly (readonly [title: string, (row: Row) => string])[] = [
  ['', ({ name }) => name],
  ['ping', ({ pingMs }) => (pingMs === undefined ? '–' : `${pingMs.toFixed(2)} ms`)],
  ['up', ({ upBitsPerSecond: up }) => (up === undefined ? '–' : bits(up))],
  ['down', ({ downBitsPerSecond: down }) => (down === undefined ? '–' : bits(down))],
  ['packets', ({ whole }) => (whole?.packets === undefined ? '–' : amount(whole.packets))],
  ['packets/call', ({ whole }) => perCall(whole?.packets, whole?.systemCalls)],
  ['server CPU', ({ whole }) => (whole ? perGigabyte(whole.serverCpu, whole) : '–')],
  ['client CPU', ({ whole }) => (whole ? perGigabyte(whole.clientCpu, whole) : '–')],
];

function perGigabyte(cpu: number, { upBits, downBits }: Reading): string {
  return `${((cpu * 8e9) / Math.max(1, upBits + downBits)).toFixed(2)} s/GB`;
}

/** The summary: a row a mode, and below it why a mode has none. */
export function table(rows: readonly Row[]): string {
  const cells = [COLUMNS.map(([title]) => title), ...rows.map((row) => COLUMNS.map(([, cell]) => cell(row)))];
  const widths = COLUMNS.map((_, column) => Math.max(...cells.map((line) => line[column].length)));
  const lines = cells.map((line) =>
    line.map((cell, column) => (column === 0 ? cell.padEnd(widths[0]) : cell.padStart(widths[column]))).join('   '),
  );
  lines.splice(1, 0, '─'.repeat(Math.max(...lines.map((line) => line.length))));
  const failures = rows
    .filter(({ failure }) => failure !== undefined)
    .map(({ name, failure }) => `${name}: ${failure}`);
  return [...lines, ...failures].join('\n');
}
