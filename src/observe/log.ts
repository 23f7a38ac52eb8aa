/**
 * Logging: pino, in the stock programs' four forms. A field whose name says that it is a secret is never written, whoever
 * logs it; still, log names and codes, not configurations.
 */
import { writeSync } from 'node:fs';
import { type Logger, type LoggerOptions, pino } from 'pino';

export type { Logger };

/** As in the configuration: `log_level`, `log_format`. */
export interface LogStyle {
  readonly logLevel: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'off';
  readonly logFormat: 'full' | 'compact' | 'pretty' | 'json';
}

/** Takes one finished line, with its end. */
export type LineSink = (line: string) => void;

const SECRETS = ['password', 'token', 'secret', 'key', 'cert', 'userDb', 'tokenKey', 'files', 'hash', 'authorization'];
const REDACTED = [...SECRETS, ...SECRETS.map((name) => `*.${name}`), ...SECRETS.map((name) => `*.*.${name}`)];
const NAMES: Readonly<Record<number, string>> = {
  10: 'TRACE',
  20: 'DEBUG',
  30: 'INFO',
  40: 'WARN',
  50: 'ERROR',
  60: 'ERROR',
};
const STANDARD_OUTPUT = 1;

/** @param part who speaks: `keeper`, `engine`, `shard 0` */
export function createLog(part: string, style: LogStyle, sink: LineSink = toStandardOutput): Logger {
  const options: LoggerOptions = {
    level: style.logLevel === 'off' ? 'silent' : style.logLevel,
    base: { part },
    redact: { paths: REDACTED, censor: '[secret]' },
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label, number) => ({ level: style.logFormat === 'json' ? label : number }) },
  };
  const { logFormat } = style;
  return pino(options, { write: logFormat === 'json' ? sink : (line) => sink(inWords(line, logFormat)) });
}

/** User names come from strangers: they must not write lines of their own, nor talk to a terminal. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
const escaped = (text: string) =>
  text.replace(UNPRINTABLE, (each) => `\\u{${(each.codePointAt(0) as number).toString(16)}}`);

/** One line a message; `pretty` puts the fields on lines of their own. */
function inWords(line: string, form: 'full' | 'compact' | 'pretty'): string {
  const { level, time, part, msg: message = '', ...fields } = JSON.parse(line) as Record<string, unknown>;
  const msg = escaped(String(message));
  const name = (NAMES[level as number] ?? String(level)).padStart(5);
  const pairs = Object.entries(fields).map(
    ([field, value]) => `${field}=${escaped(typeof value === 'string' ? value : JSON.stringify(value))}`,
  );
  switch (form) {
    case 'full':
      return `${[time, name, `${part}:`, msg, ...pairs].join(' ')}\n`;
    case 'compact':
      return `${[name.trim(), `${part}:`, msg, ...pairs].join(' ')}\n`;
    case 'pretty':
      return `${[`${time} ${name} ${part}: ${msg}`, ...pairs.map((pair) => `    ${pair}`)].join('\n')}\n`;
  }
}

/** Synchronous, so that the last line before an exit is not lost. A reader that went away is not a reason to die. */
function toStandardOutput(line: string): void {
  try {
    writeSync(STANDARD_OUTPUT, line);
  } catch (error) {
    if (!['EPIPE', 'EAGAIN', 'EIO'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
  }
}
