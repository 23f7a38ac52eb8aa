/** A shard in a thread of its own, at rest or at work: says where it lives, and does what it is told to. */
import { spawn } from 'node:child_process';
import { parentPort, workerData } from 'node:worker_threads';
import { formatIpv4 } from '../../src/server/leases.ts';
import { Rig } from '../datapath/rig.ts';
import { addon, type Io } from '../io/rig.ts';

const { io, load } = workerData as { io: Io; load: number };
const rig = new Rig({ io, shards: 1, steered: true, aead: addon.about().aead[0] });
const [shard] = rig.shards;
const { lease } = rig.connect(2);
const { goOn } = addon;
let calls = 0;
addon.goOn = (port, callback) =>
  goOn(port, () => {
    calls++;
    callback();
  });
parentPort?.on('message', (after: number) => {
  if (after < 0) {
    const sealed = shard.statistics().stages.find(({ stage }) => stage === 'lanes.seal')?.entries ?? 0;
    parentPort?.postMessage({ sealed, calls, passes: rig.passes.reduce((sum, times) => sum + times, 0) });
  } else if (after === 0) parentPort?.postMessage('message');
  else setTimeout(() => parentPort?.postMessage('timer'), after);
});
shard.start();
/** Three packets a millisecond to the client. */
const SENDER = `
  const socket = require('node:dgram').createSocket('udp4');
  const never = new Int32Array(new SharedArrayBuffer(4));
  const end = Date.now() + Number(process.argv[2]);
  socket.connect(9, process.argv[1], function next() {
    socket.send('packet');
    Atomics.wait(never, 0, 0, 0.3);
    if (Date.now() < end) setImmediate(next);
    else socket.close();
  });`;
if (load > 0) {
  const sender = [process.execPath, '-e', SENDER, formatIpv4(lease), `${load}`];
  spawn('ip', ['netns', 'exec', rig.inside.space, ...sender], { stdio: 'ignore' }).unref();
}
parentPort?.postMessage(rig.inside.space);
