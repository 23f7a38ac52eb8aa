/**
 * What 10,000 idle UDP sessions cost a server: each is brought Online by a real handshake and login, its Expresslane made active; then
 * resident memory is compared with that before, after garbage collection. The clients are forgotten first.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { createNativeVault } from '../src/crypto/native-vault.ts';
import { loadAddon } from '../src/native/index.ts';
import { createMemory, MemoryClient, MemoryServer, settle } from '../test/server/memory-server.ts';

const NOW = 1_000_000;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

async function resident(): Promise<{ rss: number; heap: number }> {
  for (let i = 0; i < 4; i++) {
    collect();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { rss, heapUsed } = process.memoryUsage();
  return { rss, heap: heapUsed };
}

export async function bench(quick: boolean): Promise<void> {
  const sessions = quick ? 200 : 10_000;
  const vault = createNativeVault(loadAddon());
  const server = new MemoryServer(createMemory(sessions + 64), 1, 1);
  const open = (i: number) => {
    const client = new MemoryClient(NOW, i + 2, 'password', vault);
    settle(NOW, server, client, `198.18.${i >> 8}.${i & 0xff}`, 5000);
    if (client.session.state !== 'online') throw new Error(`session ${i} is ${client.session.state}`);
  };
  for (let i = 0; i < 64; i++) open(i); // code and caches are warm
  for (let i = 0; i < (quick ? 50 : 1_000); i++) {
    // what handshakes leave to the collector and to malloc is there before the count begins: a server has many behind it
    open(64);
    for (const [slot, peer] of server.control.peers) if (slot >= 64) peer.close(NOW);
    server.sent();
  }
  const before = await resident();
  for (let i = 64; i < sessions + 64; i++) {
    open(i);
    if (i % 250 === 0) collect();
    if (i % 2500 === 0) console.error(`  ${i} sessions`);
  }
  const after = await resident();
  const each = (bytes: number) => `${(bytes / sessions / 1024).toFixed(1)} KB`;
  console.log(`\nMemory of ${sessions} idle UDP sessions`);
  console.log(
    `  resident ${each(after.rss - before.rss)} each, of it JavaScript heap ${each(after.heap - before.heap)}`,
  );
}
