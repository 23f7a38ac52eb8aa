/** What differs between keeping a server and keeping a client: which files, which descriptors, what is done to the host. */
import { isIP } from 'node:net';
import { loadClientConfig } from '../config/client.ts';
import type { Layers } from '../config/layers.ts';
import { readGuarded } from '../config/permissions.ts';
import { type Loaded, loadServerConfig } from '../config/server.ts';
import type { ClientConfig, Config, ServerConfig } from '../config/types.ts';
import { RingwayError } from '../errors.ts';
import type { Kernel } from './kernel.ts';
import { lookUp } from './lookup.ts';
import type { ClientFiles, ClientStart, EngineStart, ServerFiles, ServerStart } from './protocol.ts';
import { openClientResources, openServerResources, type Resources } from './resources.ts';

type Base = Pick<EngineStart, 'type' | 'version' | 'generation' | 'restart' | 'descriptors' | 'tun'>;

/** A configuration with everything read that it names. */
export interface Prepared<C extends Config> {
  readonly config: C;
  open(kernel: Kernel): Promise<Resources>;
  start(base: Base): EngineStart;
}

/** What a preparation may take its time under: given up by `signal`, its waits said in a line each. */
export interface Patience {
  readonly signal: AbortSignal;
  readonly say: (line: string) => void;
  /** Throws what would stop a start anyway, before names are looked up. */
  readonly beforeNames: () => void;
  /** Why no name may be found, where it is for something of ours. */
  readonly whoseNames: () => string | undefined;
}

export interface Duty<C extends Config> {
  readonly role: C['role'];
  load(): Loaded<C>;
  /** Reads files and resolves names. @throws RingwayError FILE_…, SERVER_UNRESOLVABLE */
  prepare(config: C, patience: Patience): Promise<Prepared<C>>;
  /** The new configuration with what descriptors already stand for kept from the old one, and the names of what was kept. */
  carryOver(old: C, next: C): { config: C; kept: string[] };
}

type Given = Omit<Layers, 'file'>;

/** @param check throws a RingwayError when an engine could do nothing with these files */
export function serverDuty(
  configFile: string,
  given: Given,
  check: (files: ServerFiles) => void = () => {},
): Duty<ServerConfig> {
  return {
    role: 'server',
    load: () => loadServerConfig(configFile, given),
    prepare: async (config) => {
      const files: ServerFiles = {
        cert: readGuarded(config.serverCert, 'server_cert', 'public'),
        key: readGuarded(config.serverKey, 'server_key', 'secret'),
        userDb: config.userDb === null ? null : readGuarded(config.userDb, 'user_db', 'secret'),
        tokenKey:
          config.tokenRsaPubKeyPem === null
            ? null
            : readGuarded(config.tokenRsaPubKeyPem, 'token_rsa_pub_key_pem', 'public'),
      };
      check(files);
      return {
        config,
        open: (kernel) => openServerResources(kernel, config),
        start: (base): ServerStart => ({ ...base, role: 'server', config, files }),
      };
    },
    carryOver: (old, next) => keep(old, next, SERVER_FIXED),
  };
}

/** @param check as of `serverDuty` */
export function clientDuty(
  configFile: string,
  given: Given,
  check: (files: ClientFiles) => void = () => {},
): Duty<ClientConfig> {
  return {
    role: 'client',
    load: () => loadClientConfig(configFile, given),
    prepare: async (config, patience) => {
      const files: ClientFiles = {
        caCerts: config.servers.map(({ caCert }) =>
          caCert.kind === 'pem' ? caCert.pem : readGuarded(caCert.path, 'ca_cert', 'unchecked'),
        ),
      };
      check(files);
      patience.beforeNames();
      const addresses = await Promise.all(
        config.servers.map(({ server, mode }) => resolve(server.host, mode, patience)),
      );
      const families = addresses.map(([best]) => isIP(best) as 4 | 6);
      return {
        config,
        open: (kernel) => openClientResources(kernel, config, families),
        start: (base): ClientStart => ({ ...base, role: 'client', config, files, addresses }),
      };
    },
    carryOver: (old, next) => {
      const shape = ({ servers }: ClientConfig) =>
        servers.map(({ mode, server }) => `${mode} ${server.host.includes(':')}`).join();
      return keep(old, next, shape(old) === shape(next) ? CLIENT_FIXED : [...CLIENT_FIXED, 'servers']);
    },
  };
}

const COMMON_FIXED = ['shards', 'sessions', 'tunName', 'tunOffload', 'gro', 'state', 'runAs'] as const;
const SERVER_FIXED: readonly (keyof ServerConfig)[] = [
  ...COMMON_FIXED,
  'mode',
  'bindAddress',
  'ipPool',
  'udpBufferSize',
];
const CLIENT_FIXED: readonly (keyof ClientConfig)[] = [
  ...COMMON_FIXED,
  'tunLocalIp',
  'tunPeerIp',
  'sndbuf',
  'rcvbuf',
  'fwmark',
];

function keep<C extends Config>(old: C, next: C, fixed: readonly (keyof C & string)[]): { config: C; kept: string[] } {
  const kept = fixed.filter((name) => JSON.stringify(old[name]) !== JSON.stringify(next[name]));
  const values = Object.fromEntries(kept.map((name) => [name, old[name]]));
  return { config: Object.freeze({ ...next, ...values } as C), kept };
}

/** Best first: IPv4 before IPv6, as the stock programs are IPv4 at heart. A UDP socket has one family, and so have its addresses. */
async function resolve(host: string, mode: 'tcp' | 'udp', patience: Patience): Promise<string[]> {
  if (isIP(host) !== 0) return [host];
  const { signal, say } = patience;
  say(`looking up ${host}`);
  try {
    const found = await lookUp(host, signal);
    const usable = mode === 'udp' ? found.filter(({ family }) => family === found[0].family) : found;
    return usable.map(({ address }) => address);
  } catch (cause) {
    const { code = 'an error' } = cause as NodeJS.ErrnoException;
    const ours = patience.whoseNames();
    throw new RingwayError(
      'SERVER_UNRESOLVABLE',
      `cannot find the address of ${host}: ${code}${ours ? `; ${ours}` : ''}`,
      ours
        ? 'write your own name servers into the file; where that client still runs, stop it'
        : 'correct server, or check the name servers of this host',
      { cause },
    );
  }
}
