/** One kernel call that changes the whole process, and what the process then is. */
import { readFileSync } from 'node:fs';
import { addon } from './rig.ts';

const field = (file: string, pattern: RegExp): string =>
  pattern.exec(readFileSync(file, 'utf8'))?.slice(1).join(' ') ?? 'none';

switch (process.argv[2]) {
  case 'pinThread':
    addon.pinThread(0);
    console.log(field('/proc/thread-self/status', /Cpus_allowed_list:\s*(\S+)/));
    break;
  case 'forbidDumps':
    addon.forbidDumps();
    console.log(`core ${field('/proc/self/limits', /core file size\s+(\S+)\s+(\S+)/)}`);
    break;
  case 'notifySystemd':
    console.log(addon.notifySystemd('READY=1\nSTATUS=up'));
    break;
}
