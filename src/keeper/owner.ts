/** Who left something on the host: a process id alone may be another program's by now. */
import { readFileSync } from 'node:fs';

export interface Owner {
  readonly pid: number;
  /** Ticks since the machine started (proc(5), stat field 22). */
  readonly begun: string;
}

export const thisOwner = (): Owner => ({ pid: process.pid, begun: beginningOf(process.pid) ?? '0' });

/** Whether somebody else still runs who will clear away what is theirs: this process has only begun. */
export function isAlive({ pid, begun }: Owner): boolean {
  return pid !== process.pid && beginningOf(pid) === begun;
}

/** @returns undefined for a process that is gone, or dead and not yet waited for */
function beginningOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return 'ZX'.includes(fields[0]) ? undefined : fields[19];
  } catch {
    return undefined;
  }
}
