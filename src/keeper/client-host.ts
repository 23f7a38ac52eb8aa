/**
 * What a client does to its host (protocol specification §9.5, §11.3): the TUN device's address and MTU at the start; routes and
 * the name server once it is online, as `route_mode` and `dns_config_mode` say; everything undone at the end.
 */
import type { ClientConfig } from '../config/types.ts';
import type { Host } from './host.ts';
import { installNames, NAMES } from './names.ts';
import type { NetworkConfig } from './protocol.ts';

const TUN_MTU = 1_350; // fixed in the stock client (protocol specification §8.1)
const EVERYTHING = ['0.0.0.0/1', '128.0.0.0/1'];
const LAN = ['192.168.0.0/16', '172.16.0.0/12', '10.0.0.0/8', '169.254.0.0/16', '224.0.0.0/24'];
const DEVICE = 'device';
const ROUTES = 'routes';
const SERVER_ROUTE = 'server route';

/** Address, peer, MTU and up. A device that was there before keeps its own state for afterwards. */
export function dressDevice(host: Host, name: string, config: ClientConfig, existed: boolean): void {
  if (existed) {
    const [link] = JSON.parse(host.ip('-j', 'link', 'show', 'dev', name)) as { mtu: number; flags: string[] }[];
    const state = link.flags.includes('UP') ? 'up' : 'down';
    host.later(DEVICE, ['ip', 'link', 'set', 'dev', name, 'mtu', String(link.mtu), state]);
  }
  const address = [config.tunLocalIp, 'peer', config.tunPeerIp, 'dev', name];
  host.add(DEVICE, ['address', 'add', ...address], ['address', 'delete', ...address]);
  host.ip('link', 'set', 'dev', name, 'mtu', String(TUN_MTU), 'up');
}

export interface Online {
  /** IPv6 has a way of its own, beside the tunnel. */
  readonly isBeside: boolean;
  /** Why the name server could not be set. */
  readonly namesRefused: unknown;
}

/** Said at login and again after a roam: replaces what it installed before. @throws RingwayError where there are no routes */
export function goOnline(host: Host, tun: string, config: ClientConfig, network: NetworkConfig): Online {
  host.undo(NAMES);
  host.undo(ROUTES);
  host.undo(SERVER_ROUTE);
  if (config.routeMode !== 'noexec') installRoutes(host, tun, config, network.serverAddress);
  const isBeside = config.routeMode !== 'noexec' && config.ipv6 === 'leave' && ways6(host).length > 0;
  try {
    if (config.dnsConfigMode !== 'noexec') installNames(host, tun, config.tunDnsIp, config.state);
  } catch (error) {
    return { isBeside, namesRefused: error };
  }
  return { isBeside, namesRefused: undefined };
}

/** The way to an address before the tunnel took everything. */
interface Way {
  readonly gateway: string | undefined;
  readonly device: string;
}

function installRoutes(host: Host, tun: string, config: ClientConfig, serverAddress: string): void {
  routeServer(host, tun, serverAddress, config.ipv6);
  const old = config.routeMode === 'lan' ? defaultWay(host) : undefined;
  for (const network of old ? LAN : []) addRoute(host, ROUTES, network, old as Way);
  const inside: Way = { gateway: config.tunPeerIp, device: tun };
  for (const network of [...EVERYTHING, `${config.tunDnsIp}/32`]) addRoute(host, ROUTES, network, inside);
  if (config.ipv6 === 'block') blockIpv6(host);
}

/** The server itself stays outside, by the way that was there. Also called when the default route has changed. */
export function routeServer(host: Host, tun: string, serverAddress: string, ipv6: ClientConfig['ipv6']): void {
  host.undo(SERVER_ROUTE);
  const is6 = serverAddress.includes(':');
  if (is6 && ipv6 === 'leave') return; // the tunnel takes IPv4 alone
  const direct = is6 ? wayTo6(host, serverAddress) : wayTo(host, serverAddress);
  const way = direct?.device === tun ? defaultWay(host) : direct;
  if (way) addRoute(host, SERVER_ROUTE, `${serverAddress}/${is6 ? 128 : 32}`, way);
}

/** Every other default has a higher metric, those of router advertisements that come later included. */
const UNREACHABLE = ['unreachable', 'default', 'metric', '1'];

function blockIpv6(host: Host): void {
  const route = (what: string) => ['-6', 'route', what, ...UNREACHABLE];
  try {
    host.add(ROUTES, route('add'), route('delete'));
  } catch (error) {
    if (ways6(host).length > 0) throw error; // else this kernel has no IPv6
  }
}

/** Default routes of IPv6 that lead anywhere; none where the kernel has no IPv6. */
function ways6({ shell }: Host): Way[] {
  const { status, output } = shell.run('ip', ['-j', '-6', 'route', 'show', 'default']);
  const routes = status === 0 ? (JSON.parse(output.trim() || '[]') as Route[]) : [];
  const leading = routes.filter(({ type = 'unicast' }) => type === 'unicast');
  return leading.flatMap(({ gateway, dev, nexthops: [hop] = [] }) =>
    dev ? { gateway, device: dev } : hop ? { gateway: hop.gateway, device: hop.dev } : [],
  );
}

function addRoute(host: Host, group: string, network: string, { gateway, device }: Way): void {
  const route = [network, ...(gateway ? ['via', gateway] : []), 'dev', device];
  host.add(group, ['route', 'add', ...route], ['route', 'delete', ...route]);
}

interface Route {
  readonly gateway?: string;
  readonly dev?: string;
  readonly type?: string;
  /** Of a route with several ways. */
  readonly nexthops?: readonly { readonly gateway: string; readonly dev: string }[];
}

/** As the kernel would send it now; nothing for an address of this host. */
function wayTo(host: Host, address: string): Way | undefined {
  const [route] = JSON.parse(host.ip('-j', 'route', 'get', address)) as Route[];
  if (!route?.dev || route.type === 'local' || route.dev === 'lo') return undefined;
  return { gateway: route.gateway, device: route.dev };
}

/** Where a default route of our own blocks everything it is the one behind that. */
function wayTo6(host: Host, address: string): Way | undefined {
  try {
    return wayTo(host, address);
  } catch (error) {
    const [way] = ways6(host);
    if (way) return way;
    throw error;
  }
}

function defaultWay(host: Host): Way | undefined {
  const [route] = JSON.parse(host.ip('-j', '-4', 'route', 'show', 'default') || '[]') as Route[];
  return route?.dev ? { gateway: route.gateway, device: route.dev } : undefined;
}
