/** A fleet of client sockets against one socket of the kernel's loopback. */
import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { afterEach, beforeEach, describe, it } from 'vitest';
import { ADDRESS, type Batch, HEADER, Verdict, viewBatch } from '../../src/datapath/batch.ts';
import { nativeBatch } from '../../src/datapath/batches.ts';
import { type FleetHandle, loadAddon } from '../../src/native/index.ts';

const addon = loadAddon();

function createPool(): Batch {
  const arena = addon.createArena(66_048, 16);
  const { handle, buffer } = addon.createBatch(arena.handle, 64);
  return viewBatch(buffer, 64, new Uint8Array(arena.buffer), handle);
}

describe('a fleet', () => {
  let server: Socket;
  let fleet: FleetHandle;

  beforeEach(async () => {
    server = createSocket('udp4');
    server.bind(0, '127.0.0.1');
    await once(server, 'listening');
    fleet = addon.createFleet({ slots: 4, address: '127.0.0.1', portNumber: server.address().port, bufferBytes: 0 });
  });

  afterEach(() => {
    addon.closeFleet(fleet);
    server.close();
  });

  it('gives every client a port of its own, and sends by it', async () => {
    const ports = [0, 1, 2].map((slot) => addon.openOutside(fleet, slot));
    equal(new Set(ports).size, 3);
    const batch = createPool();
    for (const slot of [2, 0]) ok(addon.put(nativeBatch(batch), slot, 0, undefined, Uint8Array.of(slot)));
    equal(addon.fleetTransmit(fleet, nativeBatch(batch)), 0);
    for (const slot of [2, 0]) {
      const [message, from] = (await once(server, 'message')) as [Buffer, { port: number }];
      deepEqual([message[0], from.port], [slot, ports[slot]]);
    }
  });

  it('sends from the address it is told, and refuses one of another family', async () => {
    addon.openOutside(fleet, 0, '127.0.0.7');
    const batch = createPool();
    ok(addon.put(nativeBatch(batch), 0, 0, undefined, Uint8Array.of(1)));
    addon.fleetTransmit(fleet, nativeBatch(batch));
    const [, from] = (await once(server, 'message')) as [Buffer, { address: string }];
    equal(from.address, '127.0.0.7');
    throws(() => addon.openOutside(fleet, 1, '::1'), /openOutside: from must be an address of the server's family/);
    throws(() => addon.openOutside(fleet, 1, '192.0.2.77'), { code: 'EADDRNOTAVAIL' });
  });

  it('sends a train by one call, and it arrives as its datagrams', async () => {
    addon.openOutside(fleet, 1);
    const batch = createPool();
    ok(addon.put(nativeBatch(batch), 1, 0, undefined, new Uint8Array(250).fill(7)));
    batch.segmentSize[0] = 100;
    addon.fleetTransmit(fleet, nativeBatch(batch));
    const lengths: number[] = [];
    while (lengths.length < 3) lengths.push(((await once(server, 'message')) as [Buffer])[0].length);
    deepEqual(lengths, [100, 100, 50]);
    const { trainsOut, datagramsOut } = addon.fleetCounters(fleet);
    deepEqual([trainsOut, datagramsOut], [1, 3]);
  });

  it('knows which client a datagram came to, and that it is the server who sent it', async () => {
    const ports = [0, 1, 2, 3].map((slot) => addon.openOutside(fleet, slot));
    for (const slot of [3, 1]) {
      server.send(Uint8Array.of(slot), ports[slot], '127.0.0.1');
      await new Promise(setImmediate);
    }
    const batch = createPool();
    for (let got = 0; got < 2; ) {
      ok(addon.fleetWait(fleet, 1_000_000) > 0);
      got += addon.fleetReceive(fleet, nativeBatch(batch), 32);
    }
    const came = [0, 1].map((i) => [batch.slot[i], batch.bytes[batch.offset[i]]]);
    deepEqual(came.sort(), [
      [1, 1],
      [3, 3],
    ]);
    deepEqual([...batch.address.subarray(ADDRESS.remote, ADDRESS.remote + 4)], [127, 0, 0, 1]);
    equal((batch.address[ADDRESS.portNumber] << 8) | batch.address[ADDRESS.portNumber + 1], server.address().port);
  });

  it('marks what a closed client was to send, counts it, and sends the rest', () => {
    addon.openOutside(fleet, 0);
    addon.openOutside(fleet, 1);
    addon.closeOutside(fleet, 0);
    const batch = createPool();
    for (const slot of [0, 1, -1]) addon.put(nativeBatch(batch), slot, 0, undefined, Uint8Array.of(1));
    equal(addon.fleetTransmit(fleet, nativeBatch(batch)), 0);
    deepEqual([...batch.verdict.subarray(0, 3)], [Verdict.sendFailed, Verdict.pass, Verdict.sendFailed]);
    equal(batch.header[HEADER.consumed], 3);
    equal(addon.fleetCounters(fleet).sendErrors, 2);
  });

  it('waits no longer than it is told, and is silent once closed', () => {
    const before = addon.monotonicMicros();
    equal(addon.fleetWait(fleet, 2_000), 0);
    const waited = addon.monotonicMicros() - before;
    ok(waited >= 2_000, String(waited));
    addon.closeFleet(fleet);
    equal(addon.fleetWait(fleet, 1_000_000), 0);
  });

  it('refuses slots it does not have, and addresses that are none', () => {
    throws(() => addon.openOutside(fleet, 4), /openOutside: slot must be an integer from 0 to 3/);
    throws(
      () => addon.createFleet({ slots: 1, address: 'localhost', portNumber: 1, bufferBytes: 0 }),
      /options.address/,
    );
  });
});
