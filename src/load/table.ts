/** The result on the terminal: what a person reads first. */
import { styleText } from 'node:util';
import { lossRatio } from './ledger.ts';
import type { DirectionResult, Result } from './result.ts';
import { describeScenario } from './scenario.ts';
import type { Verdict } from './thresholds.ts';
import { formatCount, formatRate, formatShare, formatTime } from './units.ts';

/** Columns left-aligned but for those whose head begins with #. */
export function columns(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const names = head.map((name) => name.replace(/^#/, ''));
  const widths = names.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i].length)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => (head[i].startsWith('#') ? cell.padStart(widths[i]) : cell.padEnd(widths[i])))
      .join('  ')
      .trimEnd();
  return [line(names), ...rows.map(line)];
}

export function summaryTable(result: Result, verdicts: readonly Verdict[]): string {
  const { uplink, downlink, clients, generator, cpu } = result;
  const ways = [uplink && (['up', uplink] as const), downlink && (['down', downlink] as const)].filter(
    (way) => way !== null,
  );
  const lines = [
    `${result.title}: ${describeScenario(result.scenario)}`,
    '',
    ...columns(
      ['', '#offered', '#goodput', '#loss', '#p50', '#p99', '#p99.9', '#Jain', '#train'],
      ways.map(([word, way]) => row(word, way)),
    ),
    '',
    `clients    ${formatCount(clients.online)} of ${formatCount(clients.wanted)} online after ${clients.loginSeconds.toFixed(1)} s${failures(clients.failed)}`,
    `server     ${cpu.serverPerGb === null ? 'CPU not visible from here' : `${cpu.serverPerGb.toFixed(2)} CPU s/GB, ${(cpu.server ?? 0).toFixed(1)} CPU s`}`,
    `loader     ${loader(generator)}`,
  ];
  for (const [word, way] of ways) lines.push('', ...ledger(word, way));
  for (const why of result.invalid) lines.push('', styleText('yellow', `not valid: ${why}`));
  for (const { text, failed, found } of verdicts)
    lines.push(styleText(failed ? 'red' : 'green', `${failed ? '✗' : '✓'} fail if ${text}: ${found}`));
  return lines.join('\n');
}

/** Several results, a row each way of each: what `ringway load table` prints. @param markdown for documents */
export function sideBySide(results: readonly Result[], markdown: boolean): string {
  const head = [
    '',
    '#clients',
    '#offered',
    '#goodput',
    '#loss',
    '#unexplained',
    '#p50',
    '#p99',
    '#Jain',
    '#train in',
    '#CPU s/GB',
    '#logins',
  ];
  const rows = results.flatMap((result) =>
    [result.uplink, result.downlink].flatMap((way) => {
      if (!way) return [];
      const { clients, cpu, subject } = result;
      const [offered, goodput, loss, p50, p99, , jain] = row('', way).slice(1);
      const name = `${subject}, ${way === result.uplink ? 'up' : 'down'}`;
      const cost = cpu.serverPerGb === null ? '–' : cpu.serverPerGb.toFixed(2);
      const train = way.trainReceived?.toFixed(1) ?? '–';
      const login = `${clients.loginSeconds.toFixed(1)} s`;
      const online = `${formatCount(clients.online)}${clients.online < clients.wanted ? ` of ${formatCount(clients.wanted)}` : ''}`;
      return [[name, online, offered, goodput, loss, formatCount(way.unexplained), p50, p99, jain, train, cost, login]];
    }),
  );
  if (!markdown) return columns(head, rows).join('\n');
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const rule = head.map((name) => (name.startsWith('#') ? '--:' : '---'));
  return [head.map((name) => name.replace(/^#/, '')), rule, ...rows].map(line).join('\n');
}

function loader({ busy, lag, delay }: Result['generator']): string {
  const late = delay ? `, sent ${formatTime(delay.p99)} after due (p99)` : '';
  return `${formatShare(busy)} of its core, behind by ${lag === null ? '–' : formatShare(lag)}${late}`;
}

function failures(failed: Readonly<Record<string, number>>): string {
  const parts = Object.entries(failed).map(([code, count]) => `${formatCount(count)} ${code}`);
  return parts.length > 0 ? `; failed: ${parts.join(', ')}` : '';
}

function row(word: string, way: DirectionResult): string[] {
  const { latency } = way;
  const late = (us: number | undefined) => (us === undefined ? '–' : formatTime(us));
  return [
    word,
    formatRate(way.offeredBits),
    formatRate(way.goodputBits),
    formatShare(lossRatio(way)),
    late(latency?.p50),
    late(latency?.p99),
    late(latency?.p999),
    way.fairness.toFixed(4),
    (way.trainReceived ?? way.trainSent)?.toFixed(1) ?? '–',
  ];
}

function ledger(word: string, { offered, delivered, losses, unexplained }: DirectionResult): string[] {
  const share = (packets: number) => formatShare(offered === 0 ? 0 : packets / offered);
  const rows = [
    ['offered', formatCount(offered), ''],
    ['delivered', formatCount(delivered), share(delivered)],
    ...losses.map((loss) => [
      `${loss.where}: ${loss.reason}${loss.estimated ? ' (estimate)' : ''}`,
      formatCount(loss.packets),
      share(loss.packets),
    ]),
    ['unexplained', formatCount(unexplained), share(unexplained)],
  ];
  return columns([`packets ${word}`, '#', '#'], rows);
}
