/** `ringway load`: what a Lightway server can carry, ours or the stock one (docs/load.md). */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import logUpdate from 'log-update';
import { askStatistics, findKeepers } from '../keeper/control.ts';
import { calibrate } from '../load/calibrate.ts';
import { checkWritable, writeFile } from '../load/files.ts';
import { type Look, liveLine, liveScreen } from '../load/live.ts';
import { renderRun } from '../load/report/run.ts';
import { type Result, readResult } from '../load/result.ts';
import { runLoad, type Show } from '../load/run.ts';
import { DEFAULTS, type Direction, describeScenario, readScenario, type ScenarioFlags } from '../load/scenario.ts';
import { goPrivate, isPrivate, loadFrom, MOST_ADDRESSES, setStage } from '../load/self.ts';
import { runSink } from '../load/sink.ts';
import { sideBySide, summaryTable } from '../load/table.ts';
import { judge, parseThreshold, THRESHOLD_EXIT, type Threshold } from '../load/thresholds.ts';
import { formatCount, formatRate, parseChoice, parseCount, parseEndpoint, usage } from '../load/units.ts';
import type { EngineStatistics } from '../observe/statistics.ts';
import { type PasswordFlags, readPassword, shownCommand } from './load-password.ts';
import { type SweepFlags, sweep, sweepFlags } from './load-sweep.ts';
import { describe, exitCodeOf } from './report.ts';

const INTERRUPTED = 130; // before there was anything to report

/** What a stage is built from. */
export interface SelfFlags extends ScenarioFlags {
  readonly serverCommand?: string;
  readonly serverFlag: string[];
  readonly serverKey: string[];
  readonly tunSetting: string[];
  readonly addresses: string;
  readonly serverCpus?: string;
  readonly loaderCpus?: string;
  readonly subject?: string;
}

interface Flags extends SelfFlags, PasswordFlags {
  readonly self?: boolean;
  readonly server?: string;
  readonly sink?: string;
  readonly sinkControl?: string;
  readonly user?: string;
  readonly caCert?: string;
  readonly serverName?: string;
  readonly watch?: string;
  readonly serverState?: string;
  readonly threads: string;
  readonly bufferKb: string;
  readonly from?: string;
  readonly title?: string;
  readonly failIf: string[];
  readonly report?: string;
  readonly json?: string;
  readonly compare?: string;
  readonly shownCommand?: string;
}

export function loadCommand(): Command {
  const command = new Command('load').description('find out what a Lightway server can carry');
  for (const direction of ['upload', 'download', 'mixed'] as const) command.addCommand(trafficCommand(direction));
  command.addCommand(sweepCommand());
  command.addCommand(calibrateCommand());
  command.addCommand(tableCommand());
  command.addCommand(sinkCommand());
  return command;
}

const gather = (word: string, before: string[]) => [...before, word];

const ABOUT: Readonly<Record<Direction, string>> = {
  upload: 'clients send to a sink behind the server',
  download: 'a sink behind the server sends to the clients',
  mixed: 'both at once',
};

/** Flags of a scenario, in the order one thinks of them. */
function addScenario(command: Command): Command {
  const { clients, rate, duration, warmup, ramp, transport, traffic, size, burst, flows } = DEFAULTS;
  return command
    .option('--clients <N>', `sessions, each logged in, 1 to 10,000 (default: ${clients})`)
    .option('--rate <RATE>', `inner bits per second of each client: 25M, 1.5G, or max (default: ${rate})`)
    .option('--duration <TIME>', `measured time (default: ${duration})`)
    .option('--warmup <TIME>', `traffic before it is measured (default: ${warmup})`)
    .option('--ramp <N>', `logins begun a second (default: ${ramp})`)
    .option('--transport <udp|tcp>', `(default: ${transport})`)
    .option('--expresslane <on|off>', '(default: on over UDP)')
    .option('--traffic <stream|window>', `due times, or flows with a window that react to loss (default: ${traffic})`)
    .option('--size <BYTES>', `inner packets: 64 to 1350, several with commas, or imix (default: ${size})`)
    .option('--burst <N>', `packets of a client that are due together, 1 to 64 (default: ${burst})`)
    .option('--flows <N>', `inner UDP flows of each client (default: ${flows})`);
}

function trafficCommand(direction: Direction): Command {
  const command = addScenario(new Command(direction).description(ABOUT[direction]));
  addStage(command)
    .option(
      '--fail-if <CONDITION>',
      "such as 'loss>0.1%' or 'p99>20ms'; exit code 99 if it holds; may be repeated",
      gather,
      [],
    )
    .option('--report <FILE>', 'write a report, one HTML file')
    .option('--json <FILE>', 'write the result')
    .option('--compare <FILE>', 'lay the report over an older result (--json)')
    .option('--title <TEXT>', 'heading of the report');
  return command.action(async (flags: Flags) => {
    process.exit(await traffic(direction, flags));
  });
}

/** Which server, which sink. */
function addStage(command: Command): Command {
  command
    .option('--self', 'make namespaces, certificate, user, server and sink here, and clear them away afterwards')
    .option('--server <HOST:PORT>', 'the server under load')
    .option('--sink <ADDRESS:PORT>', 'where the sink listens, as seen from behind the server')
    .option('--sink-control <HOST:PORT>', 'how the sink is told what to do: HOST:PORT or unix:PATH')
    .option('--user <NAME>', 'login of every client')
    .option(
      '--password-file <FILE>',
      'the password; - for standard input (default: RINGWAY_PASSWORD of the environment)',
    )
    .option('--password <WORD>', 'the password, where nobody else can see arguments')
    .option('--ca-cert <FILE>', 'authority that signed the certificate of the server')
    .option('--server-name <NAME>', 'expected in its certificate (default: any)')
    .option('--watch <PID>', 'the process of the server, when it runs here: for its CPU and drops')
    .option('--server-state <DIR>', 'folder of the control socket of a Ringway server that runs here: for its counters')
    .option('--threads <N>', 'loader threads', '1')
    .option('--buffer-kb <N>', 'socket buffer of each client; 0: as the kernel has it', '0')
    .option(
      '--from <LIST>',
      'local addresses, with commas, that clients take in turn (default: the one the kernel chooses)',
    )
    .option('--shown-command <TEXT>', 'command line to be shown in the report');
  return addSelf(command);
}

/** How `--self` builds its stage. */
function addSelf(command: Command): Command {
  return command
    .option('--server-command <WORDS>', 'with --self: another server to start, such as lightway-server')
    .option('--server-flag <WORD>', 'with --self: a flag of the server; may be repeated', gather, [])
    .option('--server-key <KEY=VALUE>', 'with --self: a key of its configuration file; may be repeated', gather, [])
    .option('--tun-setting <WORD>', 'with --self: given to `ip link set` for its device; may be repeated', gather, [])
    .option('--addresses <N>', 'with --self: outside addresses that the clients share', '16')
    .option('--server-cpus <LIST>', 'with --self: the CPUs of the server, as of taskset')
    .option('--loader-cpus <LIST>', 'with --self: those of loader and sink')
    .option('--subject <TEXT>', 'what is under load, for the report');
}

async function traffic(direction: Direction, flags: Flags): Promise<number> {
  try {
    // everything that can be written wrong is found before anything is started
    const thresholds = flags.failIf.map(parseThreshold);
    const scenario = readScenario(direction, flags);
    checkWritable('--json', flags.json);
    checkWritable('--report', flags.report);
    const older = flags.compare === undefined ? undefined : readResult(flags.compare);
    if (flags.self) return isPrivate() ? await selfRun(direction, flags) : await goPrivate();
    const options = runOptions(direction, flags, scenario);
    const stop = new AbortController();
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort());
    const title = `${options.title}: ${describeScenario(scenario)}`;
    const display = createDisplay(title);
    const result = await runLoad(options, display.show, stop.signal);
    display.end();
    return conclude(result, thresholds, flags, older);
  } catch (error) {
    if (error instanceof CommanderError) throw error;
    console.error(describe(error));
    return exitCodeOf(error);
  }
}

function conclude(result: Result, thresholds: readonly Threshold[], flags: Flags, older: Result | undefined): number {
  const verdicts = thresholds.map((threshold) => judge(threshold, result));
  if (flags.json !== undefined) writeFile(flags.json, `${JSON.stringify(result)}\n`);
  if (flags.report !== undefined) writeFile(flags.report, renderRun({ result, verdicts, older }));
  console.log(summaryTable(result, verdicts));
  if (flags.report !== undefined) console.log(`report: ${flags.report}`);
  return verdicts.some(({ failed }) => failed) ? THRESHOLD_EXIT : 0;
}

function needed(flags: Flags, name: 'server' | 'sink' | 'sinkControl' | 'user' | 'caCert'): string {
  const value = flags[name];
  const flag = `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
  if (value === undefined) throw usage(`${flag} is missing`, 'give it, or let --self make everything');
  return value;
}

function runOptions(direction: Direction, flags: Flags, scenario: ReturnType<typeof readScenario>) {
  const sink = parseEndpoint(needed(flags, 'sink'), '--sink');
  if (!/^\d+\.\d+\.\d+\.\d+$/.test(sink.host))
    throw usage(`--sink ${sink.host} is no IPv4 address`, 'the tunnel carries IPv4');
  const caCert = needed(flags, 'caCert');
  return {
    scenario,
    server: parseEndpoint(needed(flags, 'server'), '--server'),
    sink,
    sinkControl: needed(flags, 'sinkControl'),
    user: needed(flags, 'user'),
    password: readPassword(flags, process.env),
    caCert: readFileSync(caCert, 'utf8'),
    serverName: flags.serverName ?? '',
    threads: parseCount(flags.threads, '--threads', 1, 64),
    bufferBytes: parseCount(flags.bufferKb, '--buffer-kb', 0, 1_000_000) * 1_024,
    from: flags.from?.split(',').filter((address) => address !== '') ?? [],
    watch: flags.watch === undefined ? undefined : parseCount(flags.watch, '--watch', 1, 2 ** 22),
    statistics: serverStatistics(flags.serverState),
    subject: flags.subject ?? `server ${flags.server}`,
    title: flags.title ?? `${direction[0].toUpperCase()}${direction.slice(1)}, ${scenario.clients} clients`,
    command: flags.shownCommand ?? shownCommand(process.argv.slice(2)),
    release: release(),
    configuration: {},
  };
}

/** What the server counts, by its keeper's control socket. */
function serverStatistics(state: string | undefined): () => Promise<EngineStatistics | undefined> {
  return async () => {
    if (state === undefined) return undefined;
    try {
      const [keeper] = await findKeepers(state);
      return keeper && ((await askStatistics(keeper.path)).statistics ?? undefined);
    } catch {
      return undefined; // between two engines
    }
  };
}

export function release(): string {
  const file = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(file) as { version: string }).version;
}

/** The stage, and this very command inside it. */
async function selfRun(direction: Direction, flags: Flags): Promise<number> {
  let stopped = false;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.on(signal, () => {
      stopped = true;
    });
  const stage = await setStage(selfOptions(readScenario(direction, flags), flags));
  try {
    if (stopped) return INTERRUPTED;
    return await loadFrom(stage, [...loaderWords(), ...shown(flags)]);
  } finally {
    await stage.close();
  }
}

/** What `--self` builds from its flags. @throws RingwayError LOAD_USAGE */
export function selfOptions(scenario: ReturnType<typeof readScenario>, flags: SelfFlags) {
  const serverKeys = flags.serverKey.map((each) => {
    const [, key, value] = /^(\w+)=(.*)$/.exec(each) ?? [];
    if (key === undefined)
      throw usage(`--server-key ${each} is not KEY=VALUE`, 'write for example enable_tun_offload=true');
    return [key, value] as const;
  });
  return {
    scenario,
    serverCommand: flags.serverCommand?.split(/\s+/) ?? [],
    serverFlags: flags.serverFlag,
    serverKeys: Object.fromEntries(serverKeys),
    tunSettings: flags.tunSetting,
    addresses: parseCount(flags.addresses, '--addresses', 1, MOST_ADDRESSES),
    serverCpus: flags.serverCpus,
    loaderCpus: flags.loaderCpus,
  };
}

/** This command's own words without those that the stage answers. */
function loaderWords(): string[] {
  const words = process.argv.slice(3);
  const withValue = [
    '--server-command',
    '--server-flag',
    '--server-key',
    '--tun-setting',
    '--addresses',
    '--server-cpus',
    '--loader-cpus',
    '--password',
    '--password-file',
  ];
  return words.filter(
    (word, i) =>
      word !== '--self' && !withValue.includes(word.split('=')[0]) && !withValue.includes(words[i - 1] ?? ''),
  );
}

function shown(flags: Flags): string[] {
  const own =
    flags.serverCommand === undefined ? `Ringway ${release()}` : (flags.serverCommand.split('/').at(-1) ?? '');
  const subject = flags.subject ?? own;
  return ['--subject', subject, '--shown-command', shownCommand(process.argv.slice(2))];
}

interface Display {
  readonly show: Show;
  end(): void;
}

export function createDisplay(title: string): Display {
  const history: number[] = [];
  let printed = Number.NEGATIVE_INFINITY;
  return {
    show: (look: Look) => {
      if (look.phase !== 'login') history.push((look.upBits ?? 0) + (look.downBits ?? 0));
      if (process.stdout.isTTY) return logUpdate(liveScreen(title, look, history, process.stdout.columns ?? 80));
      if (look.seconds - printed < 0.99) return;
      printed = look.seconds;
      console.log(liveLine(look));
    },
    end: () => {
      if (process.stdout.isTTY) logUpdate.clear();
    },
  };
}

function sweepCommand(): Command {
  const command = new Command('sweep').description(
    'the scaling curve: upload against the number of clients, below and above capacity',
  );
  sweepFlags(command)
    .option('--duration <TIME>', 'measured time of each point', '3s')
    .option('--warmup <TIME>', 'traffic before it', '1s')
    .option('--ramp <N>', 'logins begun a second')
    .option('--transport <udp|tcp>')
    .option('--expresslane <on|off>')
    .option('--size <BYTES>', 'inner packets');
  return addSelf(command).action(async (flags: SweepFlags) => {
    process.exit(isPrivate() ? await sweep(flags) : await goPrivate());
  });
}

function calibrateCommand(): Command {
  const command = new Command('calibrate').description(
    'how much one loader thread can make, opened and counted by a checker',
  );
  addScenario(command).option('--json <FILE>', 'write the figures');
  return command.action(async (flags: ScenarioFlags & { json?: string }) => {
    checkWritable('--json', flags.json);
    const found = await calibrate(readScenario('upload', { burst: '16', duration: '5s', ...flags, rate: 'max' }));
    if (flags.json !== undefined) writeFile(flags.json, `${JSON.stringify(found)}\n`);
    const { bitsPerCore, bitsPerSecond, trainLength, packets, opened, checkerBitsPerCore } = found;
    console.log(
      `loader   ${formatRate(bitsPerCore)} a core, ${formatRate(bitsPerSecond)} here, trains of ${trainLength.toFixed(1)}`,
    );
    console.log(
      `checker  ${formatRate(checkerBitsPerCore)} a core, opened ${formatCount(opened)} of ${formatCount(packets)}, refused none`,
    );
    process.exit(0);
  });
}

function tableCommand(): Command {
  const command = new Command('table').description('several results (--json) side by side').argument('<FILE...>');
  return command
    .option('--markdown', 'for a document')
    .action((files: string[], { markdown }: { markdown?: boolean }) => {
      console.log(sideBySide(files.map(readResult), markdown ?? false));
    });
}

function sinkCommand(): Command {
  const command = new Command('sink').description('what the traffic goes to: run it behind the server under load');
  command
    .option('--listen <ADDRESS:PORT>', 'UDP', '0.0.0.0:5201')
    .option('--control <HOST:PORT>', 'where the loader tells it what to do: HOST:PORT or unix:PATH', '127.0.0.1:5202')
    .option('--io <auto|io_uring|epoll>', '', 'auto');
  return command.action(async ({ listen, control, io }: { listen: string; control: string; io: string }) => {
    const { host, portNumber } = parseEndpoint(listen, '--listen');
    const stop = new Promise((resolve) => {
      for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, resolve);
    });
    const backend = parseChoice(io, '--io', ['auto', 'io_uring', 'epoll']);
    const ready = () => console.log(`sink: ready at ${listen}, told by ${control}`);
    await runSink({ address: host, portNumber, control, io: backend, complain: console.error }, stop, ready);
    process.exit(0);
  });
}
