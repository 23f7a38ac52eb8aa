/** The frame of a report: one file that needs nothing else, not even a network. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(import.meta.url);
const own = (name: string) => readFileSync(new URL(name, import.meta.url), 'utf8');

/** What `charts.js` draws. Columns: x first, then one a series; null: no value. */
export interface Chart {
  readonly id: string;
  readonly title: string;
  readonly note: string;
  readonly x: 'seconds' | 'nines' | 'count' | 'decades';
  readonly xLabel: string;
  readonly y: 'rate' | 'time' | 'share' | 'count';
  readonly logY?: boolean;
  /** Upper end of y; left out: what the values need. */
  readonly top?: number;
  /** Where a logarithmic x is labelled. */
  readonly splits?: readonly number[];
  readonly series: readonly ChartSeries[];
  readonly columns: readonly (readonly (number | null)[])[];
}

export interface ChartSeries {
  readonly label: string;
  /** A variable of page.css. */
  readonly colour: string;
  readonly dash?: boolean;
  readonly fill?: boolean;
  readonly points?: boolean;
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

export function safe(plain: string): string {
  return plain.replace(/[&<>"']/g, (character) => ESCAPES[character]);
}

/** @param body HTML, already escaped where it must be */
export function page(title: string, body: string, charts: readonly Chart[]): string {
  const plot = require.resolve('uplot');
  const library = (name: string) => readFileSync(new URL(name, `file://${plot}`), 'utf8');
  const columns = JSON.stringify(charts).replaceAll('<', '\\u003c');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'">
<title>${safe(title)}</title>
<style>${library('uPlot.min.css')}${own('page.css')}</style>
</head>
<body>
<main>
${body}
</main>
<script type="application/json" id="charts">${columns}</script>
<script>${library('uPlot.iife.min.js')}</script>
<script>${own('charts.js')}</script>
</body>
</html>
`;
}

export function chartSection(chart: Chart): string {
  return `<section><h2>${safe(chart.title)}</h2><p class="soft small">${safe(chart.note)}</p>
<div class="chart" id="${chart.id}"></div></section>`;
}

export function pair(left: string, right: string): string {
  return `<div class="pair">${left}${right}</div>`;
}

export interface Tile {
  readonly name: string;
  readonly value: string;
  /** The same figure of the run compared with. */
  readonly was?: string;
}

export function tiles(all: readonly Tile[]): string {
  const cells = all.map(({ name, value, was }) => {
    const [, figure, unit] = /^(\S+)(?: (.*))?$/.exec(value) ?? ['', value, ''];
    const old = was === undefined ? '' : `<span class="was">was ${safe(was)}</span>`;
    const rest = unit ? ` <small>${safe(unit)}</small>` : '';
    return `<div class="tile"><dt>${safe(name)}</dt><dd>${safe(figure)}${rest}</dd>${old}</div>`;
  });
  return `<dl class="tiles">${cells.join('')}</dl>`;
}

/** Columns whose name begins with # hold numbers: to the right; a blank one is for bars. */
export function table(columns: readonly string[], rows: readonly (readonly string[])[], raw = false): string {
  const css = (i: number) => (columns[i].startsWith('#') ? ' class="n"' : columns[i] === ' ' ? ' class="wide"' : '');
  const head = columns.map((name, i) => `<th${css(i)}>${safe(name.replace(/^#/, ''))}</th>`).join('');
  const cell = (text: string, i: number) => `<td${css(i)}>${raw ? text : safe(text)}</td>`;
  const body = rows.map((row) => `<tr>${row.map(cell).join('')}</tr>`).join('');
  return `<div class="scroll"><table><thead><tr>${head}</tr></thead><tbody>${body}</tbody></table></div>`;
}

export function keys(title: string, values: Readonly<Record<string, string>>): string {
  const rows = Object.entries(values).map(([name, value]) => `<tr><td>${safe(name)}</td><td>${safe(value)}</td></tr>`);
  return `<section><h2>${safe(title)}</h2><div class="scroll keys"><table><tbody>${rows.join('')}</tbody></table></div></section>`;
}
