import { describe, expect, it } from 'vitest';
import { encodeAddress } from '../../src/datapath/address.ts';
import { SlotFlag, SlotState } from '../../src/datapath/layout.ts';
import { createMemory, MemoryClient, MemoryServer, settle } from './memory-server.ts';

const NOW = 1_000_000;

describe('a server session over UDP', () => {
  it('goes from a stranger to Online with an active Expresslane, in a slot of its own', () => {
    const server = new MemoryServer(createMemory(8), 1, 1);
    const client = new MemoryClient(NOW, 2);
    settle(NOW, server, client, '192.0.2.9', 5000);
    expect(client.session.state).toBe('online');
    const { fields } = server.control.table;
    expect(fields.state.get(0)).toBe(SlotState.online);
    expect(fields.flags.get(0) & SlotFlag.expresslane).toBe(SlotFlag.expresslane);
    expect(fields.insideAddress.get(0)).toBe(0x0a7d0002);
    expect(server.control.peers.size).toBe(1);
  });

  it('takes nothing for a first ClientHello: no slot, and an answer of at most three times its length', () => {
    const server = new MemoryServer(createMemory(8), 1, 1);
    const [hello] = new MemoryClient(NOW, 2).sent();
    for (let i = 0; i < 50; i++) server.receive(NOW, '192.0.2.9', 5000 + i, hello);
    expect(server.control.peers.size).toBe(0);
    const answers = server.sent();
    expect(answers).toHaveLength(50);
    for (const { datagram } of answers) expect(datagram.length).toBeLessThanOrEqual(3 * hello.length);
  });

  it('joins a second ClientHello whose pieces and copies came before its session could be found', () => {
    const server = new MemoryServer(createMemory(8), 1, 1);
    const client = new MemoryClient(NOW, 2);
    for (const datagram of client.sent()) server.receive(NOW, '192.0.2.9', 5000, datagram);
    for (const { datagram } of server.sent()) client.receive(NOW, datagram);
    // one vector: `locate` has called all of them strangers before session.control sees the first
    const address = encodeAddress('192.0.2.9', 5000, '192.0.2.1');
    for (const datagram of client.sent().flatMap((each) => [each, each, each]))
      server.role.stranger(NOW, { payload: datagram.slice(16), header: datagram.slice(0, 16), address });
    server.answer(NOW);
    for (const { datagram } of server.sent()) client.receive(NOW, datagram);
    settle(NOW, server, client, '192.0.2.9', 5000);
    expect(client.session.state).toBe('online');
    expect(server.control.counters.sessionsOpened).toBe(1);
  });

  it('refuses a wrong password and frees the slot', () => {
    const server = new MemoryServer(createMemory(8), 1, 1);
    const client = new MemoryClient(NOW, 2, 'wrong');
    settle(NOW, server, client, '192.0.2.9', 5000);
    expect(client.closed).toContain('UNAUTHORIZED');
    expect(server.control.peers.size).toBe(0);
    expect(server.control.table.fields.state.get(0)).toBe(SlotState.free);
  });

  it('goes on in the next engine without a handshake, and never uses a record number twice', () => {
    const memory = createMemory(8);
    const first = new MemoryServer(memory, 1, 1);
    const client = new MemoryClient(NOW, 2);
    settle(NOW, first, client, '192.0.2.9', 5000);
    const { recordSendCounter } = first.control.table.fields;
    const claimed = recordSendCounter.get(0, 3);
    const second = new MemoryServer(memory, 2, 7);
    expect(second.role.restore(NOW)).toBe(1);
    const peer = second.control.peers.get(0);
    expect(peer?.user).toBe('user2');
    client.session.announce(NOW); // a Ping
    client.pump(NOW);
    const [ping] = client.sent();
    second.receive(NOW, '192.0.2.9', 5000, ping);
    const answers = second.sent();
    expect(answers).toHaveLength(1);
    expect(recordSendCounter.get(0, 3)).toBe(claimed + 1);
    client.receive(NOW, answers[0].datagram);
    expect(client.closed).toEqual([]);
    expect(() => first.control.closeSome(NOW, 1)).toThrow(/generation/); // the predecessor is shut out: it cannot even say Goodbye
    expect(recordSendCounter.get(0, 3)).toBe(claimed + 1);
  });

  it('lets a client that begins anew from the same address replace its old session', () => {
    const server = new MemoryServer(createMemory(8), 1, 1);
    settle(NOW, server, new MemoryClient(NOW, 2), '192.0.2.9', 5000);
    const again = new MemoryClient(NOW, 3);
    settle(NOW, server, again, '192.0.2.9', 5000);
    expect(again.session.state).toBe('online');
    expect(server.control.peers.size).toBe(1);
  });

  it('lets a client that begins anew in the middle of a handshake have its way at once', () => {
    const server = new MemoryServer(createMemory(8), 1, 1);
    const client = new MemoryClient(NOW, 2);
    for (const datagram of client.sent()) server.receive(NOW, '192.0.2.9', 5000, datagram);
    for (const { datagram } of server.sent()) client.receive(NOW, datagram);
    for (const datagram of client.sent()) server.receive(NOW, '192.0.2.9', 5000, datagram);
    expect(server.control.peers.size).toBe(1);
    server.sent(); // is lost, as the client is
    const again = new MemoryClient(NOW, 3);
    settle(NOW, server, again, '192.0.2.9', 5000);
    expect(again.session.state).toBe('online');
    expect(server.control.peers.size).toBe(1);
  });

  it('answers a repeated ClientHello in the middle of a handshake with its flight, and begins nothing anew', () => {
    const server = new MemoryServer(createMemory(8), 1, 1);
    const client = new MemoryClient(NOW, 2);
    const [hello] = client.sent();
    server.receive(NOW, '192.0.2.9', 5000, hello);
    for (const { datagram } of server.sent()) client.receive(NOW, datagram);
    const [second] = client.sent();
    server.receive(NOW, '192.0.2.9', 5000, second);
    const flight = server.sent();
    const peer = server.control.peers.get(0);
    for (const repeated of [hello, second]) {
      server.receive(NOW + 200_000, '192.0.2.9', 5000, repeated);
      server.receive(NOW + 200_000, '192.0.2.9', 5000, repeated);
    }
    expect(server.sent().map(({ datagram }) => datagram.length)).toEqual(flight.map(({ datagram }) => datagram.length));
    expect(server.control.peers.get(0)).toBe(peer);
  });

  it('begins no further handshake while 512 answers are awaited, and goes on when they have come', () => {
    const server = new MemoryServer(createMemory(600), 1, 1);
    const begin = (seed: number) => {
      const client = new MemoryClient(NOW, seed);
      const address = encodeAddress(`192.0.2.${seed % 3}`, 5000 + seed, '192.0.2.1');
      const say = () => {
        const [hello] = client.sent();
        server.role.stranger(NOW, { payload: hello.slice(16), header: hello.slice(0, 16), address });
        for (const { datagram } of server.sent()) client.receive(NOW, datagram);
      };
      say();
      say();
    };
    for (let i = 0; i < 513; i++) begin(i);
    expect(server.control.peers.size).toBe(512);
    expect(server.role.hellosDropped()).toEqual({ busy: 1 });
    server.answer(NOW);
    begin(513);
    expect(server.control.peers.size).toBe(513);
  }, 60_000);

  it('begins no 257th handshake for one source, counts it, and goes on when one is over; other sources never notice', () => {
    const server = new MemoryServer(createMemory(300), 1, 1);
    const begin = (seed: number, from: string) => {
      const client = new MemoryClient(NOW, seed);
      const address = encodeAddress(from, 5000 + seed, '192.0.2.1');
      for (let hellos = 0; hellos < 2; hellos++) {
        const [hello] = client.sent();
        server.role.stranger(NOW, { payload: hello.slice(16), header: hello.slice(0, 16), address });
        for (const { datagram } of server.sent()) client.receive(NOW, datagram);
      }
      server.reports.length = 0; // nobody answers
    };
    for (let i = 0; i < 257; i++) begin(i, '192.0.2.9');
    expect([server.control.peers.size, server.role.hellosDropped()]).toEqual([256, { sourceFull: 1 }]);
    begin(257, '192.0.2.10');
    expect(server.control.peers.size).toBe(257);
    server.control.peers.get(0)?.close(NOW);
    begin(258, '192.0.2.9');
    expect([server.control.peers.size, server.role.hellosDropped()]).toEqual([257, { sourceFull: 1 }]);
  }, 60_000);

  it('forgets a source with its last half-open client: one that has logged in does not count', () => {
    const server = new MemoryServer(createMemory(300), 1, 1);
    for (let i = 0; i < 260; i++) settle(NOW, server, new MemoryClient(NOW, i), '192.0.2.9', 5000 + i);
    expect([server.control.peers.size, server.role.hellosDropped()]).toEqual([260, {}]);
    expect(server.role.halfOpen.sessions).toBe(0);
  }, 60_000);

  it('outlives a datagram that says Goodbye and closes the connection at once', () => {
    const server = new MemoryServer(createMemory(8), 1, 1);
    const client = new MemoryClient(NOW, 2);
    settle(NOW, server, client, '192.0.2.9', 5000);
    client.session.close(NOW);
    client.pump(NOW);
    client.dtls.close(NOW);
    client.pump(NOW);
    const [goodbye, closeNotify] = client.sent();
    server.receive(NOW, '192.0.2.9', 5000, Uint8Array.from([...goodbye, ...closeNotify.slice(16)]));
    expect(server.control.peers.size).toBe(0);
  });

  it('is not replaced by a repetition of its own ClientHello', () => {
    const server = new MemoryServer(createMemory(8), 1, 1);
    const client = new MemoryClient(NOW, 2);
    const [hello] = client.sent();
    server.receive(NOW, '192.0.2.9', 5000, hello);
    for (const { datagram } of server.sent()) client.receive(NOW, datagram);
    const [second] = client.sent();
    server.receive(NOW, '192.0.2.9', 5000, second);
    for (const { datagram } of server.sent()) client.receive(NOW, datagram);
    settle(NOW, server, client, '192.0.2.9', 5000);
    expect(client.session.state).toBe('online');
    const peer = server.control.peers.get(0);
    server.receive(NOW, '192.0.2.9', 5000, second);
    expect(server.sent()).toEqual([]);
    expect(server.control.peers.get(0)).toBe(peer);
    expect(server.role.hellosDropped()).toEqual({ repeated: 1 });
  });
});
