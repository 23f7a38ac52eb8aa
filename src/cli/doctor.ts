/** `ringway doctor`: what this machine gives a tunnel, a line each, and what to do about what it does not. Exit code 1: nothing would start. */
import { Command } from 'commander';
import { examine, type Finding } from '../keeper/doctor.ts';
import { loadAddon } from '../native/index.ts';

export function doctorCommand(): Command {
  const command = new Command('doctor').description('say what this machine lacks for a tunnel, or for a fast one');
  return command.option('--json', 'one JSON array').action(({ json }: { json?: boolean }) => {
    const findings = [...examine(loadAddon())];
    console.log(json ? JSON.stringify(findings, null, 2) : findings.map(row).join('\n'));
    process.exit(findings.some(({ state }) => state === 'bad') ? 1 : 0);
  });
}

function row({ state, subject, words, advice, code }: Finding): string {
  return `${state.padEnd(4)}  ${subject}: ${words}${advice ? ` — ${advice}` : ''}${code && advice ? ` [${code}]` : ''}`;
}
