/** The crypto pool: public-key work and password hashes, which take milliseconds and never run on a shard. Started by piscina. */
import { setPriority } from 'node:os';
import { workerData } from 'piscina';
import { derOf, privateKeyOf } from '../src/crypto/pem.ts';
import { type Credentials, type CryptoTask, runTask } from '../src/crypto/tasks.ts';
import type { CryptoMaterial } from '../src/datapath/crypto-pool.ts';
import { createLogins, type LoginRequest } from '../src/server/logins.ts';

// On Linux this is the thread's own: a storm of logins must not take the processors from the shards.
setPriority(0, 10);

const material = workerData as CryptoMaterial;
const credentials: Credentials =
  material.role === 'server'
    ? { certificateChain: derOf(material.cert, 'server_cert'), privateKey: privateKeyOf(material.key, 'server_key') }
    : { trustAnchors: derOf(material.caCert, 'ca_cert'), serverName: material.serverName, now: Date.now };
const logins = material.role === 'server' ? createLogins(material.userDb, material.tokenKey) : undefined;

export default (job: { task: CryptoTask } | { login: LoginRequest }) =>
  'task' in job ? runTask(job.task, credentials) : logins?.(job.login);
