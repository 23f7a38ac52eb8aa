/** `ringway`: one command a file; a command's code is loaded only when it is called, so that each starts at once. */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { describe, exitCodeOf } from './report.ts';

type Build = () => Promise<Command>;

const COMMANDS: Readonly<Record<string, readonly [about: string, Build]>> = {
  server: [
    "carry clients: takes the stock server's configuration and flags",
    async () => (await import('./server.ts')).serverCommand(),
  ],
  client: [
    "connect to a server: takes the stock client's configuration and flags",
    async () => (await import('./client.ts')).clientCommand(),
  ],
  reload: [
    'start a new engine with the configuration as it is now; UDP sessions go on',
    async () => (await import('./reload.ts')).reloadCommand(),
  ],
  load: [
    'find out what a Lightway server can carry, ours or the stock one',
    async () => (await import('./load.ts')).loadCommand(),
  ],
  calibrate: [
    'measure the backends on this machine and name the best combination',
    async () => (await import('./calibrate.ts')).calibrateCommand(),
  ],
  status: ['list running instances', async () => (await import('./status.ts')).statusCommand()],
  metrics: [
    'print what running instances count, for Prometheus',
    async () => (await import('./metrics.ts')).metricsCommand(),
  ],
  doctor: [
    'say what this machine lacks for a tunnel, or for a fast one',
    async () => (await import('./doctor.ts')).doctorCommand(),
  ],
  top: ['show what a running instance does, once a second', async () => (await import('./top.ts')).topCommand()],
};

async function main(args: readonly string[]): Promise<void> {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  const program = new Command('ringway')
    .description('VPN server and client that speak the Lightway protocol')
    .version(version, '-V, --version');
  for (const [name, [about, build]] of Object.entries(COMMANDS)) {
    program.addCommand(args[0] === name ? settle(await build()) : new Command(name).description(about));
  }
  settle(program);
  try {
    await program.parseAsync(args, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) process.exit(0);
    if (!(error instanceof CommanderError)) console.error(describe(error));
    process.exit(exitCodeOf(error));
  }
}

/** Errors come back as exceptions, so that exit codes are decided in one place. */
function settle(command: Command): Command {
  return command
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'ringway: ')) })
    .exitOverride()
    .showHelpAfterError('(--help lists everything)');
}

await main(process.argv.slice(2));
