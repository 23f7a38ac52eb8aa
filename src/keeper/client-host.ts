/**
 * What a client does to its host (protocol specification §9.5, §11.3): the TUN device's address and MTU at the start; routes and
 * the name server once it is online, as `route_mode` and `dns_config_mode` say; everything undone at the end.
 */
import type { ClientConfig } from '../config/types.ts';
import type { Host } from './host.ts';
import type { NetworkConfig } from './protocol.ts';

const TUN_MTU = 1_350; // fixed in the stock client (protocol specification §8.1)
const EVERYTHING = ['0.0.0.0/1', '128.0.0.0/1'];
const LAN = ['192.168.0.0/16', '172.16.0.0/12', '10.0.0.0/8', '169.254.0.0/16', '224.0.0.0/24'];
const RESOLV_CONF = '/etc/resolv.conf';
const DEVICE = 'device';
const ROUTES = 'routes';
const SERVER_ROUTE = 'server route';
const NAMES = 'names';

/** Address, peer, MTU and up. A device that was there before keeps its own state for afterwards. */
export function dressDevice(host: Host, name: string, config: ClientConfig, existed: boolean): void {
  if (existed) {
    const [link] = JSON.parse(host.ip('-j', 'link', 'show', 'dev', name)) as { mtu: number; flags: string[] }[];
    host.later(DEVICE, () => {
      host.ip('link', 'set', 'dev', name, 'mtu', String(link.mtu), link.flags.includes('UP') ? 'up' : 'down');
    });
  }
  const address = [config.tunLocalIp, 'peer', config.tunPeerIp, 'dev', name];
  host.add(DEVICE, ['address', 'add', ...address], ['address', 'delete', ...address]);
  host.ip('link', 'set', 'dev', name, 'mtu', String(TUN_MTU), 'up');
}

/** Said at login and again after a roam: replaces what it installed before. */
export function goOnline(host: Host, tun: string, config: ClientConfig, network: NetworkConfig): void {
  host.undo(NAMES);
  host.undo(ROUTES);
  host.undo(SERVER_ROUTE);
  if (config.routeMode !== 'noexec') installRoutes(host, tun, config, network.serverAddress);
  if (config.dnsConfigMode !== 'noexec') installNames(host, tun, config.tunDnsIp);
}

/** The way to an address before the tunnel took everything. */
interface Way {
  readonly gateway: string | undefined;
  readonly device: string;
}

function installRoutes(host: Host, tun: string, config: ClientConfig, serverAddress: string): void {
  routeServer(host, tun, serverAddress);
  const old = config.routeMode === 'lan' ? defaultWay(host) : undefined;
  for (const network of old ? LAN : []) addRoute(host, ROUTES, network, old as Way);
  const inside: Way = { gateway: config.tunPeerIp, device: tun };
  for (const network of [...EVERYTHING, `${config.tunDnsIp}/32`]) addRoute(host, ROUTES, network, inside);
}

/** The server itself stays outside, by the way that was there. Also called when the default route has changed. */
export function routeServer(host: Host, tun: string, serverAddress: string): void {
  host.undo(SERVER_ROUTE);
  if (serverAddress.includes(':')) return; // the tunnel takes IPv4 alone
  const direct = wayTo(host, serverAddress);
  const way = direct?.device === tun ? defaultWay(host) : direct;
  if (way) addRoute(host, SERVER_ROUTE, `${serverAddress}/32`, way);
}

function addRoute(host: Host, group: string, network: string, { gateway, device }: Way): void {
  const route = [network, ...(gateway ? ['via', gateway] : []), 'dev', device];
  host.add(group, ['route', 'add', ...route], ['route', 'delete', ...route]);
}

interface Route {
  readonly gateway?: string;
  readonly dev?: string;
  readonly type?: string;
}

/** As the kernel would send it now; nothing for an address of this host. */
function wayTo(host: Host, address: string): Way | undefined {
  const [route] = JSON.parse(host.ip('-j', 'route', 'get', address)) as Route[];
  if (!route?.dev || route.type === 'local' || route.dev === 'lo') return undefined;
  return { gateway: route.gateway, device: route.dev };
}

function defaultWay(host: Host): Way | undefined {
  const [route] = JSON.parse(host.ip('-j', '-4', 'route', 'show', 'default') || '[]') as Route[];
  return route?.dev ? { gateway: route.gateway, device: route.dev } : undefined;
}

/** resolvectl, resolvconf or the file: the first that works. */
function installNames(host: Host, tun: string, server: string): void {
  const { shell } = host;
  const works = (program: string, args: readonly string[], input?: string) =>
    shell.run(program, args, input).status === 0;

  if (works('resolvectl', ['dns', tun, server]) && works('resolvectl', ['domain', tun, '~.'])) {
    host.later(NAMES, () => void shell.run('resolvectl', ['revert', tun]));
    return;
  }
  const record = `${tun}.ringway`;
  if (works('resolvconf', ['-a', record], `nameserver ${server}\n`)) {
    host.later(NAMES, () => void shell.run('resolvconf', ['-d', record]));
    return;
  }
  const before = shell.read(RESOLV_CONF);
  const ours = `# written by ringway, which puts the former content back when it ends\nnameserver ${server}\n`;
  shell.write(RESOLV_CONF, ours);
  host.later(NAMES, () => {
    if (shell.read(RESOLV_CONF) === ours) shell.write(RESOLV_CONF, before);
  });
}
