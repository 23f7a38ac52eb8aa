/** A shard at rest, in a thread of its own: says where it lives, and does what it is told to. */
import { parentPort, workerData } from 'node:worker_threads';
import { Rig } from '../datapath/rig.ts';
import { addon, type Io } from '../io/rig.ts';

const { io } = workerData as { io: Io };
const rig = new Rig({ io, shards: 1, steered: true, aead: addon.about().aead[0] });
const [shard] = rig.shards;
parentPort?.on('message', (after: number) => {
  if (after === 0) parentPort?.postMessage('message');
  else setTimeout(() => parentPort?.postMessage('timer'), after);
});
shard.start();
parentPort?.postMessage(rig.inside.space);
