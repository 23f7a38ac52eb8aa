/** What runs on a shard's thread of a server: its sessions over UDP or TCP, and the talk with the engine's main thread. */
import { randomBytes } from 'node:crypto';
import type { MessagePort } from 'node:worker_threads';
import { createNativeVault } from '../crypto/native-vault.ts';
import type { Control } from '../datapath/control.ts';
import type { ReportSender, ShardCommand, ShardStatistics } from '../datapath/host.ts';
import { Shard, type ShardOptions } from '../datapath/shard.ts';
import { checkLayout } from '../datapath/table.ts';
import { CookieSecrets } from '../dtls/cookie.ts';
import { DtlsDrop } from '../dtls/events.ts';
import { loadAddon } from '../native/index.ts';
import type { ServerConfig as SessionConfig } from '../session/types.ts';
import type { Micros } from '../wire/time.ts';
import { FirstHellos } from './first-hellos.ts';
import { ServerRole } from './sessions.ts';
import { StreamAcceptor } from './streams.ts';

export interface ServerShardTask {
  readonly role: 'server';
  readonly options: ShardOptions;
  /** Shared by all shards of an engine, so that any of them knows the others' cookies. */
  readonly cookieSeed: Uint8Array;
  readonly suites: readonly number[];
  readonly groups: readonly number[];
  readonly schemes: readonly number[];
  readonly certificateChain: readonly Uint8Array[];
  readonly session: Omit<SessionConfig, 'transport' | 'counters'>;
  readonly keyUpdateInterval: Micros;
  /** TCP mode: the listening socket, and what TLS needs. */
  readonly tcp: { listener: number; cert: string; key: string; proxyProtocol: boolean } | undefined;
}

/** Lives until it is told to stop. Throws what a successor cannot mend either. */
export async function runServerShard(task: ServerShardTask, port: MessagePort): Promise<void> {
  const addon = loadAddon();
  checkLayout(addon);
  const report: ReportSender = (message, transfer = []) => port.postMessage(message, transfer);
  const shard = new Shard(addon, task.options, report);
  const { control } = shard;
  const vault = createNativeVault(addon);
  const isNoble = task.options.aead === 'noble';
  const seeded = { ...task, addon, lanes: control.lanes, seed: task.cookieSeed };
  const role = new ServerRole({
    control,
    vault,
    random: (length) => new Uint8Array(randomBytes(length)),
    shard: task.options.shard,
    shards: task.options.shards,
    listener: {
      secrets: new CookieSecrets(vault, task.cookieSeed),
      suites: task.suites,
      groups: task.groups,
      schemes: task.schemes,
    },
    certificateChain: task.certificateChain,
    session: task.session,
    keyUpdateInterval: task.keyUpdateInterval,
    report,
    firstHellos: isNoble ? undefined : new FirstHellos(seeded),
  });
  control.role = role;
  role.restore(control.now());
  const streams = task.tcp
    ? new StreamAcceptor({
        ...task.tcp,
        control,
        halfOpen: role.halfOpen,
        shard: task.options.shard,
        session: task.session,
        wake: () => shard.wake(),
      })
    : undefined;

  await new Promise<void>((resolve) => {
    const leave = () => {
      streams?.close();
      const dropped = shard.stop();
      if (dropped > 0) report({ type: 'note', text: `${dropped} packets that waited for their pace are dropped` });
      report({ type: 'stopped' });
      port.close();
      resolve();
    };
    port.on('message', (command: ShardCommand) => {
      switch (command.type) {
        case 'statistics':
          report({ type: 'statistics', statistics: count(shard, role, streams) });
          break;
        case 'stop':
          shard.closeSessions();
          leave();
          break;
        case 'yield':
          leave();
          break;
        default:
          control.later((now) => answer(now, control, command, report));
          shard.wake();
      }
    });
    report({ type: 'ready', io: shard.io, aead: task.options.aead, note: shard.note });
    shard.start();
  });
}

type Answer = Extract<ShardCommand, { type: 'taskDone' | 'authorised' }>;

function answer(now: Micros, control: Control, command: Answer, report: ReportSender): void {
  if (command.type === 'taskDone') {
    control.taskDone(now, command.id, command.result);
    return;
  }
  const { id, grant, code } = command;
  if (!control.authorised(now, id, grant, code) && grant)
    report({ type: 'released', insideAddress: grant.insideAddress, user: '' });
}

function count(shard: Shard, role: ServerRole, streams: StreamAcceptor | undefined): ShardStatistics {
  const statistics = shard.statistics();
  const hellos = Object.entries(role.hellosDropped()).map(([reason, times]) => [`hello.${reason}`, times]);
  const dtls = Object.entries(DtlsDrop).map(([reason, number]) => [`dtls.${reason}`, role.dtlsDrops[number]]);
  const more = {
    ...Object.fromEntries([...hellos, ...dtls]),
    ...(streams ?? role).sessionCounters,
    ...streams?.counters,
  };
  return { ...statistics, control: { ...statistics.control, ...more } };
}
