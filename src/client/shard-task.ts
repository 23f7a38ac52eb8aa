/** What runs on the shard's thread of a client: one session over UDP or TCP, and the talk with the engine's main thread. */
import { randomBytes } from 'node:crypto';
import type { MessagePort } from 'node:worker_threads';
import { createNativeVault } from '../crypto/native-vault.ts';
import type { ShardCommand, ShardReport } from '../datapath/host.ts';
import { Shard, type ShardOptions } from '../datapath/shard.ts';
import { checkLayout } from '../datapath/table.ts';
import { loadAddon } from '../native/index.ts';
import type { ClientConfig as SessionConfig } from '../session/types.ts';
import { ClientRole } from './sessions.ts';
import { connectStream, type StreamTarget } from './stream.ts';

export interface ClientShardTask {
  readonly role: 'client';
  readonly options: ShardOptions & { readonly single: number };
  readonly suites: readonly number[];
  readonly groups: readonly number[];
  readonly handshakeMtu: number;
  readonly session: Omit<SessionConfig, 'counters'>;
  readonly tunLocalIp: string;
  readonly tunDnsIp: string;
  readonly paceRate: number;
  /** UDP: where the server is (40 bytes, ADDRESS). */
  readonly remote: Uint8Array | undefined;
  /** TCP: whom to dial. */
  readonly tcp: StreamTarget | undefined;
}

export async function runClientShard(task: ClientShardTask, port: MessagePort): Promise<void> {
  const addon = loadAddon();
  checkLayout(addon);
  const report = (message: ShardReport) => port.postMessage(message);
  const shard = new Shard(addon, task.options, report);
  const { control } = shard;
  const role = new ClientRole({
    slot: task.options.single,
    control,
    vault: createNativeVault(addon),
    random: (length) => new Uint8Array(randomBytes(length)),
    dtls: { suites: task.suites, groups: task.groups },
    handshakeMtu: task.handshakeMtu,
    session: task.session,
    tunLocalIp: task.tunLocalIp,
    tunDnsIp: task.tunDnsIp,
    paceRate: task.paceRate,
    report,
  });
  control.role = role;

  await new Promise<void>((resolve) => {
    const leave = () => {
      const dropped = shard.stop();
      if (dropped > 0) report({ type: 'note', text: `${dropped} packets that waited for their pace are dropped` });
      report({ type: 'stopped' });
      port.close();
      resolve();
    };
    port.on('message', (command: ShardCommand) => {
      switch (command.type) {
        case 'taskDone':
          control.later((now) => control.taskDone(now, command.id, command.result));
          break;
        case 'statistics': {
          const statistics = shard.statistics();
          report({
            type: 'statistics',
            statistics: { ...statistics, control: { ...statistics.control, ...role.counters } },
          });
          break;
        }
        case 'stop':
          shard.closeSessions();
          return leave();
        case 'yield':
          return leave();
        case 'authorised':
          break;
      }
      shard.wake();
    });
    report({ type: 'ready', io: shard.io, aead: task.options.aead, note: shard.note });
    if (task.tcp) connectStream(control, role, task.tcp, report, () => shard.wake());
    else if (!role.restore(control.now()) && task.remote) role.connect(control.now(), task.remote);
    shard.start();
  });
}
