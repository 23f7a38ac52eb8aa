/** The table "How fast": what was asked for, what was measured, and whether that is enough. */
import { type Spread, spread } from './rounds.ts';

export interface Row {
  /** Rows of one group stand together under its name. */
  readonly group: string;
  readonly what: string;
  readonly sense: 'at least' | 'at most';
  readonly bound: number;
  /** Behind figure and bound: `×` for ratios. */
  readonly unit: string;
  readonly figure: Spread;
  /** Pairs of rounds, or rounds, that the median is of. */
  readonly rounds: number;
  /** What else a reader needs to judge it. */
  readonly note?: string;
}

export interface Missing {
  readonly group: string;
  readonly what: string;
  readonly why: string;
}

export const isMet = ({ sense, bound, figure }: Row): boolean =>
  sense === 'at least' ? figure.median >= bound : figure.median <= bound;

/** Where benchmarks leave what they found. */
export class Table {
  readonly rows: (Row | Missing)[] = [];

  /** @param values one a round */
  add(row: Omit<Row, 'figure' | 'rounds'>, values: readonly number[]): void {
    if (values.length === 0) this.miss(row.group, row.what, 'every round failed');
    else this.rows.push({ ...row, figure: spread(values), rounds: values.length });
  }

  miss(group: string, what: string, why: string): void {
    this.rows.push({ group, what, why });
  }

  json(): object[] {
    return this.rows.map((row) => ('why' in row ? row : { ...row, met: isMet(row) }));
  }
}

const WIDTHS = { what: 50, bound: 12, figure: 10, range: 17 };
const RULE = WIDTHS.what + WIDTHS.bound + WIDTHS.figure + WIDTHS.range + 16;

/** @param colours only where somebody looks on: a terminal */
export function draw({ rows }: Table, colours: boolean, remark: string): string {
  const paint = (code: number, text: string) => (colours ? `\x1b[${code}m${text}\x1b[0m` : text);
  const titles = ['asked for'.padStart(WIDTHS.bound), 'median'.padStart(WIDTHS.figure), 'range'.padStart(WIDTHS.range)];
  const head = `${'How fast'.padEnd(WIDTHS.what)}${titles.join('')}  rounds`;
  const lines = ['', paint(1, head), '─'.repeat(RULE)];
  let group = '';
  for (const row of rows) {
    if (row.group !== group) lines.push(...(group === '' ? [] : ['']), paint(1, row.group));
    group = row.group;
    if ('why' in row) {
      lines.push(`  ${row.what.padEnd(WIDTHS.what - 2)}${paint(33, `not measured: ${row.why}`)}`);
      continue;
    }
    const verdict = isMet(row) ? paint(32, '✓ met') : paint(31, '✗ missed');
    lines.push(`  ${columns(row)}  ${verdict}${row.note === undefined ? '' : paint(2, `  ${row.note}`)}`);
  }
  const measured = rows.filter((row) => !('why' in row)) as Row[];
  const absent = rows.length - measured.length;
  const score = `${measured.filter(isMet).length} of ${measured.length} met${absent > 0 ? `, ${absent} not measured` : ''}`;
  return [...lines, '─'.repeat(RULE), `${paint(1, score)}${remark === '' ? '' : ` (${remark})`}`].join('\n');
}

function columns({ what, sense, bound, unit, figure, rounds }: Row): string {
  const { median, low, high } = figure;
  return (
    what.padEnd(WIDTHS.what - 2) +
    `${sense === 'at least' ? '≥' : '≤'} ${show(bound)} ${unit}`.padStart(WIDTHS.bound) +
    `${show(median)} ${unit}`.padStart(WIDTHS.figure) +
    (rounds > 1 ? `${show(low)} – ${show(high)}` : '').padStart(WIDTHS.range) +
    String(rounds).padStart(6)
  );
}

function show(value: number): string {
  const size = Math.abs(value);
  return value.toFixed(Number.isInteger(value) && size >= 2 ? 0 : size >= 100 ? 0 : size >= 10 ? 1 : 2);
}
