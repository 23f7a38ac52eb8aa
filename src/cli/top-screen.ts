/** How `ringway top` looks. Everything fits 80 columns; what a wider terminal adds is a longer curve. */
import { stripVTControlCharacters, styleText } from 'node:util';
import type { Status } from '../keeper/control.ts';
import type { Flow, Rates } from '../observe/rates.ts';
import { TRAIN_BUCKETS } from '../observe/statistics.ts';

const BARS = ' ▁▂▃▄▅▆▇█';
const NARROW = 80;
const WIDEST = 120;
const MOST_SHARDS = 8;
const MOST_REASONS = 12;

/** One line, for logs and pipes. */
export function topLine(status: Status, rates: Rates | undefined): string {
  if (!rates) return `${status.role} ${status.pid}  no engine answers`;
  return [
    `up ${bits(rates.upBitsPerSecond)}`,
    `down ${bits(rates.downBitsPerSecond)}`,
    `${amount(rates.packetsInPerSecond + rates.packetsOutPerSecond)} packets/s`,
    `${decimal(rates.packetsPerSystemCall)} packets/call`,
    `trains ${decimal(rates.trainIn)} in ${decimal(rates.trainOut)} out`,
    `${rates.online} online`,
    `cpu ${percent(rates.cpu)}`,
    `drops ${amount(rates.dropsPerSecond)}/s`,
  ].join('  ');
}

/** @param rates undefined: there is no engine that answers  @param history bits per second of the looks so far  @param columns of the terminal */
export function topScreen(
  status: Status,
  rates: Rates | undefined,
  history: readonly number[],
  columns: number,
): string {
  const width = Math.max(40, Math.min(columns, WIDEST)) - 1; // a full last column would wrap on some terminals
  const lines = [styleText('bold', cut(heading(status), width))];
  if (!rates) return [...lines, '', styleText('yellow', 'no engine answers')].join('\n');
  lines.push(cut(place(status), width), ...overview(rates));
  if (history.length > 1) lines.push('', styleText('cyan', curve(history, Math.min(width, columns - 1))));
  lines.push('', ...shardTable(rates), '', ...stageTable(rates), '', ...drops(rates, width));
  return lines.join('\n');
}

function heading({ role, pid, tun, generation, deaths, upSeconds }: Status): string {
  const died = deaths === 0 ? '' : `, ${deaths} died`;
  return `ringway ${role} ${pid}   tun ${tun}   up ${clock(upSeconds)}   engine generation ${generation}${died}`;
}

function place({ configFile }: Status): string {
  return configFile;
}

function overview(rates: Rates): string[] {
  const { sessions, online, assignedAddresses } = rates;
  const addresses = assignedAddresses === null ? '' : `, ${amount(assignedAddresses)} addresses`;
  const half = (left: string, right: string) =>
    left + ' '.repeat(Math.max(1, 38 - stripVTControlCharacters(left).length)) + right;
  return [
    half(way('up', rates.upBitsPerSecond), `sessions  ${whole(sessions)}, ${whole(online)} online`),
    half(
      way('down', rates.downBitsPerSecond),
      `CPU       ${percent(rates.cpu)} of a core, main ${percent(rates.mainCpu)}`,
    ),
    half(
      `packets   ${amount(rates.packetsInPerSecond)}/s in, ${amount(rates.packetsOutPerSecond)}/s out`,
      `memory    ${amount(rates.residentBytes)}B${addresses}`,
    ),
    half(
      `per call  ${decimal(rates.packetsPerSystemCall)} (${amount(rates.systemCallsPerSecond)} calls/s)`,
      `trains    ${decimal(rates.trainIn)} in, ${decimal(rates.trainOut)} out`,
    ),
    half(`lengths   ${lengths(rates.trainsIn)} in`, `lengths   ${lengths(rates.trainsOut)} out`),
    half(
      `turns     p50 ${micros(rates.turnP50)}, p99 ${micros(rates.turnP99)}`,
      `drops     ${amount(rates.dropsPerSecond)}/s`,
    ),
  ];
}

/** Trains by length, a bar a bucket, the highest for the one that has most. */
function lengths(trains: Readonly<Record<string, number>>): string {
  const counts = TRAIN_BUCKETS.map((bucket) => trains[bucket]);
  const most = Math.max(...counts);
  const bars = counts.map((count) => BARS[most === 0 ? 0 : Math.ceil((count / most) * 8)]).join('');
  return `${TRAIN_BUCKETS[0]} ▕${bars}▏ ${TRAIN_BUCKETS[TRAIN_BUCKETS.length - 1]}`;
}

const way = (name: string, bitsPerSecond: number) => `${name.padEnd(10)}${styleText('green', bits(bitsPerSecond))}`;

function shardTable({ shards }: Rates): string[] {
  const titles = ['shard', 'CPU', 'online', 'up', 'down', 'packets/s', '/call', 'trains', 'handed/s'];
  const rows = shards
    .slice(0, MOST_SHARDS)
    .map((shard) => [
      String(shard.shard),
      percent(shard.cpu),
      whole(shard.online),
      short(shard.upBitsPerSecond),
      short(shard.downBitsPerSecond),
      amount(shard.packetsInPerSecond + shard.packetsOutPerSecond),
      decimal(shard.packetsPerSystemCall),
      trains(shard),
      amount(shard.handoversPerSecond),
    ]);
  const more = shards.length - MOST_SHARDS;
  return [...table([titles, ...rows], [5, 7, 8, 8, 8, 11, 7, 12, 10]), ...(more > 0 ? [`and ${more} more`] : [])];
}

function stageTable({ stages }: Rates): string[] {
  const titles = ['stage', 'vectors/s', 'entries/s', '/vector', 'ns/entry', 'busy', 'drops/s'];
  const rows = stages.map((stage) => [
    stage.stage,
    amount(stage.vectorsPerSecond),
    amount(stage.entriesPerSecond),
    decimal(stage.entriesPerVector),
    stage.nanosPerEntry === null ? '–' : amount(stage.nanosPerEntry),
    stage.busy === null ? '–' : percent(stage.busy),
    amount(stage.dropsPerSecond),
  ]);
  return table([titles, ...rows], [15, 11, 11, 10, 11, 9, 10], true);
}

function drops({ drops: rates, dropsPerSecond }: Rates, width: number): string[] {
  if (dropsPerSecond === 0) return ['drops  none'];
  const sorted = Object.entries(rates).sort(([, a], [, b]) => b - a);
  const lines: string[] = [];
  for (const [reason, rate] of sorted.slice(0, MOST_REASONS)) {
    const words = `${reason} ${amount(rate)}/s`;
    const last = lines.at(-1);
    if (last !== undefined && last.length + words.length + 3 <= width) lines[lines.length - 1] = `${last}   ${words}`;
    else lines.push(`${last === undefined ? 'drops  ' : '       '}${words}`);
  }
  return lines.map((line) => styleText('red', line));
}

/** @param left the first column is text */
function table(rows: readonly (readonly string[])[], widths: readonly number[], left = false): string[] {
  return rows.map((row, i) => {
    const line = row.map((cell, c) => (left && c === 0 ? cell.padEnd(widths[c]) : cell.padStart(widths[c]))).join('');
    return i === 0 ? styleText('dim', line) : line;
  });
}

function trains({ trainIn, trainOut }: Flow): string {
  return `${decimal(trainIn)}/${decimal(trainOut)}`;
}

function curve(history: readonly number[], width: number): string {
  const shown = history.slice(-Math.min(width, Math.max(NARROW, width)));
  const top = Math.max(...shown, 1);
  return shown.map((value) => BARS[Math.ceil((value / top) * 8)]).join('');
}

const cut = (text: string, width: number) => (text.length <= width ? text : `…${text.slice(text.length - width + 1)}`);
const whole = (count: number) => count.toLocaleString('en-GB');
const percent = (share: number) => `${Math.round(share * 100)} %`;
const decimal = (value: number | null) => (value === null ? '–' : value >= 99.95 ? value.toFixed(0) : value.toFixed(1));

function micros(value: number | null): string {
  if (value === null) return '–';
  return value >= 9_995 ? `${amount(value / 1000)} ms` : `${value.toFixed(0)} µs`;
}

function clock(seconds: number): string {
  const two = (value: number) => String(Math.floor(value)).padStart(2, '0');
  return `${two(seconds / 3600)}:${two((seconds / 60) % 60)}:${two(seconds % 60)}`;
}

function scaled(value: number): [digits: string, prefix: string] {
  const step = value >= 999.5e6 ? 3 : value >= 999.5e3 ? 2 : value >= 999.5 ? 1 : 0;
  const left = value / 1000 ** step;
  const places = left >= 99.95 || (step === 0 && (left >= 10 || Number.isInteger(left))) ? 0 : left >= 9.995 ? 1 : 2;
  return [left.toFixed(places), ['', 'k', 'M', 'G'][step]];
}

function amount(value: number): string {
  const [digits, prefix] = scaled(value);
  return prefix === '' ? digits : `${digits} ${prefix}`;
}

function bits(perSecond: number): string {
  const [digits, prefix] = scaled(perSecond);
  return `${digits} ${prefix}bit/s`;
}

/** Bits per second without the unit, for a column. */
const short = (perSecond: number) => scaled(perSecond).join('');
