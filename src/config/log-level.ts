/** The stock programs' RUST_LOG variables: of a filter such as `warn,lightway=debug`, Ringway has only the level that stands alone. */
import type { LogLevel } from './types.ts';

const LEVELS: readonly string[] = ['trace', 'debug', 'info', 'warn', 'error', 'off'];

/** @param filter value of LW_SERVER_RUST_LOG or LW_CLIENT_RUST_LOG, which has the last word as in the stock programs */
export function logLevelFrom(filter: string | undefined, configured: LogLevel): LogLevel {
  const alone = filter
    ?.split(',')
    .map((directive) => directive.trim().toLowerCase())
    .find((directive) => LEVELS.includes(directive));
  return (alone as LogLevel | undefined) ?? configured;
}
