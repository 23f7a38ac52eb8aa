/** One line that says how far a long measurement is; on a terminal it makes room for the next, elsewhere nothing is written. */
const out = process.stderr;

export const progress = {
  show(line: string): void {
    if (out.isTTY) out.write(`\r\x1b[K  ${line.slice(0, Math.max(20, (out.columns ?? 100) - 3))}`);
  },
  clear(): void {
    if (out.isTTY) out.write('\r\x1b[K');
  },
};
