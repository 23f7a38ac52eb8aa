// Bootstrap: plain JavaScript for Node 18 and newer, before anything is installed. In order: system packages, npm packages,
// the addon. Each step looks first and acts only on a difference. `bin/setup.mjs PURPOSE FILE` leaves in FILE the paths by which
// bin/setup.sh sees the next time that nothing has changed.
//   start  what the demo and the product need
//   test   also what the tests need: a compiler with libFuzzer, the addon with sanitizers
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';

const purpose = process.argv[2] ?? 'start';
const arch = { x64: 'x64', arm64: 'arm64' }[process.arch];

/** Debian package, and the program or file that shows it is there; by file, so that other distributions pass too. */
const PACKAGES = [
  ['g++', 'g++'],
  ['make', 'make'],
  ['python3', 'python3'], // node-gyp, and the rig in bench/rig
  ['liburing-dev', '/usr/include/liburing.h'],
  ['libcrypt-dev', '/usr/include/crypt.h'],
  ['iproute2', 'ip'],
  ['iputils-ping', 'ping'],
  ['iperf3', 'iperf3'],
  ['curl', 'curl'],
  ['openssl', 'openssl'],
  ['util-linux', 'unshare'],
  ['procps', 'sysctl'],
];
const TEST_PACKAGES = [['clang', 'clang']];
/** Used where apt has it for this machine, never required. */
const OPTIONAL_PACKAGES = arch === 'x64' ? [['libipsec-mb-dev', '/usr/include/intel-ipsec-mb.h']] : [];

function stop(...lines) {
  for (const line of lines) console.error(`ringway: ${line}`);
  process.exit(1);
}

/** Says what is done and how long it took; a step that fails shows its whole output and ends the set-up. */
function step(title, command, args, options = {}) {
  process.stdout.write(`ringway: ${title} ... `);
  const start = process.hrtime.bigint();
  const run = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28, ...options });
  const seconds = Number((process.hrtime.bigint() - start) / 1_000_000n) / 1000;
  if (run.status === 0) {
    console.log(`${seconds.toFixed(1)} s`);
    return true;
  }
  console.log(options.mayFail ? 'not available' : 'failed');
  if (options.mayFail) return false;
  console.error(`${run.stdout ?? ''}${run.stderr ?? ''}${run.error?.message ?? ''}`);
  return stop(`'${[command, ...args].join(' ')}' failed; its output is above`);
}

/** @returns where it is, or undefined */
function pathOf(probe) {
  if (probe.startsWith('/')) return existsSync(probe) ? probe : undefined;
  const paths = `${process.env.PATH}:/usr/sbin:/sbin`.split(':').map((directory) => join(directory, probe));
  return paths.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

const present = (probe) => pathOf(probe) !== undefined;

/** libFuzzer's runtime is a package of its own, with the compiler's version in its name (14 on Debian 12, 18 on Ubuntu 24.04). */
function clangRuntime() {
  const version = spawnSync('sh', ['-c', "apt-cache depends clang | sed -n 's/.*Depends: clang-\\([0-9]*\\)$/\\1/p'"], {
    encoding: 'utf8',
  });
  const major = version.stdout?.trim();
  return major ? [[`libclang-rt-${major}-dev`, `/usr/lib/llvm-${major}/lib/clang`]] : [];
}

const known = (names) => spawnSync('apt-cache', ['show', '--no-all-versions', ...names]).status === 0;

/** @returns whether the packages are in place now */
function aptInstall(names, mayFail = false) {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const install = ['-o', 'DPkg::Lock::Timeout=120', 'install', '-y', '--no-install-recommends', ...names];
  if (!known(names)) step('apt-get update', 'apt-get', ['-o', 'DPkg::Lock::Timeout=120', 'update'], { env, mayFail });
  return step(`apt-get install ${names.join(' ')}`, 'apt-get', install, { env, mayFail });
}

const wanted = purpose === 'test' ? [...PACKAGES, ...TEST_PACKAGES] : PACKAGES;

function systemPackages() {
  const missing = wanted.filter(([, probe]) => !present(probe)).map(([name]) => name);
  const optional = OPTIONAL_PACKAGES.filter(([name, probe]) => !present(probe) && !existsSync(`.cache/no-${name}`));
  const root = process.getuid() === 0 && present('apt-get');
  if (missing.length > 0 && !root) {
    // one name that apt does not know would make it install nothing
    const useful = [...optional, ...(purpose === 'test' ? clangRuntime() : [])].map(([name]) => name);
    const names = [...missing, ...useful.filter((name) => known([name]))].join(' ');
    stop(
      'packages are missing, and only root can install them. Run this, then the same command again:',
      `  sudo apt-get install -y ${names}`,
    );
  }
  if (missing.length > 0) aptInstall(missing);
  if (!root) return;
  for (const [name] of optional)
    if (!aptInstall([name], true)) stamp(`.cache/no-${name}`, 'not in apt on this machine\n');
  if (purpose === 'test' && !existsSync('.cache/clang-runtime')) {
    for (const [name] of clangRuntime()) aptInstall([name], true);
    stamp('.cache/clang-runtime', 'looked for\n');
  }
}

function stamp(file, text) {
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(file, text);
}

function stamped(file, text) {
  return existsSync(file) && readFileSync(file, 'utf8') === text;
}

function digest(files) {
  const hash = createHash('sha256');
  for (const file of files) hash.update(file).update('\0').update(readFileSync(file)).update('\0');
  return hash.digest('hex');
}

function npmPackages() {
  if (existsSync('node_modules') && lstatSync('node_modules').isSymbolicLink()) return; // someone else's: left alone
  const wanted = digest(['package-lock.json']);
  if (stamped('node_modules/.ringway-lock', wanted)) return;
  // no install scripts: the pinned Node comes with its platform package, and newer npm blocks scripts anyway
  const args = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const preload = `--require ${JSON.stringify(resolve('bin/pinned-version.cjs'))}`;
  const env = { ...process.env, NODE_OPTIONS: `${process.env.NODE_OPTIONS ?? ''} ${preload}`.trim() };
  const cli = process.env.npm_execpath;
  if (cli?.endsWith('.js')) step('npm ci', process.execPath, [cli, ...args], { env });
  else step('npm ci', 'npm', args, { env });
  stamp('node_modules/.ringway-lock', wanted);
}

function* filesUnder(folder) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesUnder(path);
    else if (entry.isFile()) yield path;
  }
}

const builtOf = (folder) => join(folder, folder === 'build' ? 'Release' : 'build/Release', 'ringway.built');

/** The addon depends on its sources, on the pinned Node (lockfile) and on which optional library was there to link. */
function addon(kind, folder) {
  const sources = ['binding.gyp', 'bin/build-native.sh', 'package-lock.json', ...[...filesUnder('native')].sort()];
  const libraries = OPTIONAL_PACKAGES.map(([name, probe]) => `${name}=${present(probe)}`).join(' ');
  const wanted = `${digest(sources)} ${process.arch} ${libraries}\n`;
  const file = join(folder, '.ringway-stamp');
  if (stamped(file, wanted) && existsSync(builtOf(folder))) return;
  step(`building the addon (${kind})`, 'sh', ['bin/build-native.sh', kind]);
  stamp(file, wanted);
}

if (Number(process.versions.node.split('.')[0]) < 18)
  stop(`Node ${process.versions.node} is too old to set up with: 18 or newer is needed`);
if (process.platform !== 'linux' || arch === undefined)
  stop(`Ringway runs on Linux (x86-64 or arm64), and this is ${process.platform} ${process.arch}`);
if (!['start', 'test'].includes(purpose)) stop(`expected start or test but received ${purpose}`);
systemPackages();
npmPackages();
addon('release', 'build');
if (purpose === 'test') addon('asan', 'build-asan');
if (process.argv[3]) {
  const packages = wanted.map(([, probe]) => pathOf(probe));
  const optional = OPTIONAL_PACKAGES.map(([, probe]) => (present(probe) ? probe : `!${probe}`));
  const builds = ['build', ...(purpose === 'test' ? ['build-asan'] : [])].map(builtOf);
  stamp(process.argv[3], `${[...packages, ...optional, 'node_modules/.bin', ...builds].join('\n')}\n`);
}
