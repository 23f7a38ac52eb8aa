/** Clients that have nothing to say: `idle-clients.ts SERVER PORT AUTHORITY COUNT` logs them in, prints `online N`, and keeps them until its input ends. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { chooseAead } from '../src/datapath/backends.ts';
import { PASSWORD, SERVER_NAME, USER } from '../src/lab/credentials.ts';
import { Crew } from '../src/load/crew.ts';
import { readScenario } from '../src/load/scenario.ts';
import { loadAddon } from '../src/native/index.ts';

const TICK_MS = 250;
const LOGIN_MS = 300_000;

const [address, portNumber, authority, count] = process.argv.slice(2);
const clients = Number(count);
const scenario = readScenario('upload', { clients: count });
const crew = new Crew([
  {
    role: 'loader',
    bare: false,
    scenario,
    clients,
    traffic: {
      ...{ clients, first: 0, run: 1, form: 'inside', destination: 0x0a630002, portNumber: 5201 },
      ...{ flows: 1, burst: 1, window: false, echoEvery: 0, sizes: scenario.sizes },
    },
    address,
    portNumber: Number(portNumber),
    user: USER,
    password: PASSWORD,
    caCert: readFileSync(authority, 'utf8'),
    serverName: SERVER_NAME,
    aead: chooseAead(loadAddon(), 'auto'),
    bufferBytes: 0,
    from: [],
    tickMs: TICK_MS,
  },
]);
process.stdin.resume();
const ended = once(process.stdin, 'end');
const late = performance.now() + LOGIN_MS;
while (crew.look().online < clients && performance.now() < late) await Promise.race([sleep(TICK_MS), crew.died]);
const { online, failed } = crew.look();
console.log(`online ${online} ${JSON.stringify(failed)}`);
await Promise.race([ended, crew.died]);
console.log(`lost ${crew.look().lost}`);
await crew.close();
