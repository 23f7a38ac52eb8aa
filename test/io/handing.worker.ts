/** A shard that hands `each` numbered datagrams over to shard 0; what a full ring refuses is handed over again. */
import { workerData } from 'node:worker_threads';
import { Verdict } from '../../src/datapath/batch.ts';
import { PUBLIC_SLOT_BYTES, SECRET_SLOT_BYTES } from '../../src/datapath/layout.ts';
import { addon, createPool, loopback, putTrain } from './rig.ts';

const { id, shard, shards, each } = workerData as { id: number; shard: number; shards: number; each: number };
const table = addon.openTable({
  public: addon.createMemfd('public', PUBLIC_SLOT_BYTES),
  secret: addon.createMemfd('secret', SECRET_SLOT_BYTES),
  slots: 1,
});
const { handle: index } = addon.createIndex(1);
const lanes = addon.createLanes({
  table: table.handle,
  index,
  shard,
  shards,
  generation: 1,
  aead: addon.about().aead[0],
}).handle;
const handover = addon.attachHandover(id);
const pool = createPool(65_536, 8);

for (let next = 0; next < each; ) {
  for (let i = 0; i < 16 && next + i < each; i++) {
    const entry = putTrain(pool, loopback(shard), next + i, 1, 64);
    pool.batch.slot[entry] = 0; // belongs to shard 0
    pool.batch.epoch[entry] = shard; // says who handed it over
    pool.batch.verdict[entry] = Verdict.elsewhere;
  }
  next += addon.handOver(handover, lanes, pool.handle, 'udp');
  addon.clear(pool.handle);
}
