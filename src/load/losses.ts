/** Finds who lost packets: every counter on the way, read before and after a run. */
import { FIRST_DROP, VERDICTS } from '../datapath/batch.ts';
import type { NetworkDrops } from './kernel.ts';
import type { Loss } from './ledger.ts';

/** One hop of the way up as the kernel counts it, and of the way down: device and side. */
interface Hop {
  readonly host: 'loader' | 'server' | 'sink';
  readonly counter: string;
  readonly way: 'up' | 'down';
  /** Before or behind the server: trains are as the sender made them, or as the server did. */
  readonly side: 'before' | 'behind';
  readonly where: string;
}

/** The devices of the lab (`src/lab/hosts.ts`); what carries other names is another host's, and cannot be seen from here. */
export const LAB_HOPS: readonly Hop[] = [
  { host: 'loader', counter: 'c0 tx', way: 'up', side: 'before', where: 'loader device' },
  { host: 'server', counter: 's0 rx', way: 'up', side: 'before', where: 'server device' },
  { host: 'server', counter: 'lws rx', way: 'up', side: 'behind', where: 'server TUN' },
  { host: 'server', counter: 's1 tx', way: 'up', side: 'behind', where: 'server device' },
  { host: 'sink', counter: 'n0 rx', way: 'up', side: 'behind', where: 'sink device' },
  { host: 'sink', counter: 'n0 tx', way: 'down', side: 'before', where: 'sink device' },
  { host: 'server', counter: 's1 rx', way: 'down', side: 'before', where: 'server device' },
  { host: 'server', counter: 'lws tx', way: 'down', side: 'before', where: 'server TUN' },
  { host: 'server', counter: 's0 tx', way: 'down', side: 'behind', where: 'server device' },
  { host: 'loader', counter: 'c0 rx', way: 'down', side: 'behind', where: 'loader device' },
];

export interface Look {
  readonly loader: NetworkDrops;
  readonly server: NetworkDrops | undefined;
  readonly sink: NetworkDrops | undefined;
}

export interface Ends {
  readonly serverPort: number;
  readonly sinkPort: number;
  /** Mean packets a train: as sent, and as they came out at the other end; at least 1. */
  readonly trains: { readonly before: number; readonly behind: number };
  /** Counters of the loader's own datapath and sockets. */
  readonly loaderVerdicts: Readonly<Record<string, number>>;
  readonly loaderPort: Readonly<Record<string, number>>;
  readonly sinkPortCounters: Readonly<Record<string, number>>;
  /** The server's own, over the run, where it tells them. */
  readonly server: Readonly<Record<string, number>> | undefined;
}

export function findLosses(way: 'up' | 'down', before: Look, after: Look, ends: Ends): Loss[] {
  const found: Loss[] = [];
  const add = (where: string, reason: string, packets: number, estimated: boolean) => {
    if (packets > 0) found.push({ where, reason, packets: Math.round(packets), estimated });
  };
  const { trains, loaderVerdicts, loaderPort, sinkPortCounters, server } = ends;
  for (const name of VERDICTS.slice(FIRST_DROP)) {
    // the way up is sealed here, the way down opened here; a verdict names only one of them
    const sealed = name === 'noKey' || name === 'tooLarge' || name === 'badGso' || name === 'notOnline';
    if (sealed === (way === 'up')) add('loader', name, loaderVerdicts[name] ?? 0, false);
    add('server', name, server?.[`verdict.${name}.${way}`] ?? 0, false);
  }
  if (way === 'up') {
    add('loader socket', 'sendmsg refused', loaderPort.sendErrors ?? 0, false);
    add(
      'server socket',
      'SO_RXQ_OVFL',
      socketDrops(before.server, after.server, ends.serverPort) * trains.before,
      true,
    );
    add('sink socket', 'SO_RXQ_OVFL', socketDrops(before.sink, after.sink, ends.sinkPort) * trains.behind, true);
  } else {
    add('sink socket', 'sendmsg refused', sinkPortCounters.sendErrors ?? 0, false);
    add('loader socket', 'SO_RXQ_OVFL', (loaderPort.socketDrops ?? 0) * trains.behind, true);
  }
  for (const hop of LAB_HOPS) {
    if (hop.way !== way) continue;
    const counted =
      (after[hop.host]?.devices.get(hop.counter) ?? 0) - (before[hop.host]?.devices.get(hop.counter) ?? 0);
    add(hop.where, `${hop.counter}_dropped`.replace(' ', ': '), counted * trains[hop.side], true);
  }
  return found;
}

function socketDrops(before: NetworkDrops | undefined, after: NetworkDrops | undefined, portNumber: number): number {
  return (after?.sockets.get(portNumber) ?? 0) - (before?.sockets.get(portNumber) ?? 0);
}
