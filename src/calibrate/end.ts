/** One end of the tunnel that `ringway calibrate` measures: a thread with one shard at a time, whose one session needs no handshake. */
import { isMainThread, type MessagePort, parentPort } from 'node:worker_threads';
import { SlotFlag, SlotState } from '../datapath/layout.ts';
import { Shard, type ShardOptions } from '../datapath/shard.ts';
import { loadAddon } from '../native/index.ts';

export type EndCommand =
  /** A shard of these options takes the session over. `key`: what the other end seals with, told once. */
  | { type: 'start'; options: ShardOptions; remote: Uint8Array; isFirst: boolean }
  | { type: 'key'; key: Uint8Array }
  | { type: 'stop' };

export type EndReport =
  | { type: 'started'; key: Uint8Array | undefined }
  | { type: 'refused'; why: string }
  | { type: 'stopped'; cpuSeconds: number };

const SLOT = 0;
const ID = Uint8Array.of(7, 2, 3, 4, 5, 6, 7, 8);

function serve(port: MessagePort): void {
  const addon = loadAddon();
  const say = (report: EndReport) => port.postMessage(report);
  let shard: Shard | undefined;
  let before = process.threadCpuUsage();

  const start = ({ options, remote, isFirst }: Extract<EndCommand, { type: 'start' }>) => {
    shard = new Shard(addon, options, () => {});
    const { lanes, table } = shard.control;
    addon.claimSlot(lanes, SLOT);
    const { fields } = table;
    fields.state.set(SLOT, SlotState.online);
    fields.versionMajor.set(SLOT, 1);
    fields.versionMinor.set(SLOT, 3);
    fields.currentId.set(SLOT, ID);
    fields.sendId.set(SLOT, ID);
    fields.remote.set(SLOT, remote);
    fields.flags.set(SLOT, SlotFlag.client | SlotFlag.expresslane | SlotFlag.aadFlags);
    const key = isFirst ? addon.laneStage(lanes, SLOT) : undefined;
    if (isFirst) addon.lanePromote(lanes, SLOT);
    say({ type: 'started', key });
    before = process.threadCpuUsage();
    shard.start();
  };

  port.on('message', (command: EndCommand) => {
    switch (command.type) {
      case 'start':
        try {
          start(command);
        } catch (error) {
          say({ type: 'refused', why: (error as Error).message });
        }
        return;
      case 'key':
        if (shard) addon.laneInstallReceive(shard.control.lanes, SLOT, command.key);
        return;
      case 'stop': {
        const { user, system } = process.threadCpuUsage(before);
        shard?.stop();
        shard = undefined;
        say({ type: 'stopped', cpuSeconds: (user + system) / 1e6 });
      }
    }
  });
}

if (!isMainThread && parentPort) serve(parentPort);
