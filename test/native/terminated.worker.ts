/**
 * A shard that a test kills: two ports in one thread, trains and packets going both ways for ever, in one of several states.
 * It says 'running' when it is in the state; from then on it may die at any instruction.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { addon, createPool, type Io, loopback, openSocket, openUdpPort, PACKET_BLOCK, putTrain } from '../io/rig.ts';

type State = 'busy' | 'armed' | 'queued' | 'full';
const { io, state, turns, tun, zeroCopy } = workerData as {
  io: Io;
  state: State;
  turns: number;
  tun: number;
  zeroCopy: boolean;
};

const [near, far] = [openSocket(), openSocket()];
const { handle: handover } = addon.createHandover(1, 65_536);
const packets = createPool(PACKET_BLOCK, 8);
const sender = openUdpPort(io, near, { zeroCopy });
const receiver = openUdpPort(io, far, {
  handover,
  shard: 0,
  ...(tun >= 0 ? { tun, vnetHeader: true, tunReceive: packets.handle } : {}),
});
const out = createPool(PACKET_BLOCK, 16);
const to = loopback(far.portNumber);

function turn(number: number): void {
  for (let i = 0; i < 4; i++) putTrain(out, to, number * 4 + i, 10, 1200);
  addon.udpTransmit(sender.port, out.handle);
  addon.clear(out.handle);
  addon.wait(receiver.port, 50);
  addon.udpReceive(receiver.port, 64);
  if (state !== 'full') addon.clear(receiver.trains.handle);
}

for (let i = 0; i < turns; i++) turn(i);
if (state === 'queued') {
  addon.injectErrors(sender.port, 'udp', [0, 11]); // EAGAIN
  turn(turns);
}
if (state === 'armed') {
  while (addon.arm(receiver.port, () => undefined)) {
    addon.wait(receiver.port, 0);
    addon.udpReceive(receiver.port, 64);
    if (tun >= 0) addon.tunReceive(receiver.port, 64);
    addon.clear(receiver.trains.handle);
    addon.clear(packets.handle);
  }
}
parentPort?.on('message', () => undefined); // keeps an idle worker alive: it ends by being killed, never on its own
parentPort?.postMessage('running');
if (state === 'busy' || state === 'full') for (let i = 0; ; i++) turn(i);
