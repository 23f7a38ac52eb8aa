/** Certificate authority, server certificate and users, made on the spot with openssl; in the form stock Lightway takes them. */
import { chmod, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { run } from './programs.ts';

export const USER = 'user';
export const PASSWORD = 'password';
export const SERVER_NAME = 'vpn.example';

export interface Credentials {
  readonly authority: string;
  readonly certificate: string;
  readonly key: string;
  readonly users: string;
}

const NEW_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

/** A P-256 authority of its own name, valid for 30 days. @returns path of its certificate; the key lies beside it */
export async function createAuthority(folder: string, name: string): Promise<string> {
  const certificate = join(folder, `${name}.crt`);
  const files = ['-keyout', join(folder, `${name}.key`), '-out', certificate];
  await run(['openssl', 'req', '-x509', ...NEW_KEY, '-days', '30', ...files, '-subj', `/CN=${name}`]);
  return certificate;
}

const DAY_MS = 86_400_000;

/**
 * A server certificate signed by the authority in `folder`, which begins now. `days` may be 0 or less: then it began a day before it ran out, as
 * many days ago. By `openssl ca`: `openssl x509` of 3.5 takes no end before now, and older ones no beginning.
 */
export async function createCertificate(
  folder: string,
  options: { authority: string; name: string; days: number; file: string },
) {
  const { authority, name, days } = options;
  const [key, request, certificate] = ['key', 'csr', 'crt'].map((ending) => join(folder, `${options.file}.${ending}`));
  await run(['openssl', 'req', ...NEW_KEY, '-keyout', key, '-out', request, '-subj', `/CN=${name}`]);
  const [config, database] = ['cnf', 'db'].map((ending) => join(folder, `${options.file}.${ending}`));
  await writeFile(database, '');
  await writeFile(config, configOf({ database, folder, name }));
  const end = Date.now() + days * DAY_MS;
  const dates = ['-startdate', timeOf(Math.min(Date.now(), end - DAY_MS)), '-enddate', timeOf(end)];
  const signer = ['-cert', join(folder, `${authority}.crt`), '-keyfile', join(folder, `${authority}.key`)];
  const how = ['-batch', '-notext', '-config', config, '-in', request, '-out', certificate];
  await run(['openssl', 'ca', ...how, ...signer, ...dates]);
  await chmod(key, 0o600);
  return { certificate, key };
}

/** What `openssl ca` wants to be told in a file. */
function configOf({ database, folder, name }: { database: string; folder: string; name: string }): string {
  return `[ca]
default_ca = lab
[lab]
database = ${database}
new_certs_dir = ${folder}
rand_serial = yes
default_md = sha256
policy = any
x509_extensions = extensions
[any]
commonName = supplied
[extensions]
subjectAltName = DNS:${name}
`;
}

/** YYYYMMDDHHMMSSZ */
function timeOf(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`;
}

/** Everything a pair needs, in a folder. The user file holds one user with a `$6$` hash. */
export async function createCredentials(folder: string): Promise<Credentials> {
  const authority = await createAuthority(folder, 'authority');
  const pair = await createCertificate(folder, { authority: 'authority', name: SERVER_NAME, days: 30, file: 'server' });
  const users = join(folder, 'users');
  await writeFile(users, `${USER}:${(await run(['openssl', 'passwd', '-6', PASSWORD])).trim()}\n`, { mode: 0o600 });
  return { authority, ...pair, users };
}

/** Gives the one user the cheapest hash that servers take: a thousand logins are not to measure the hash. */
export async function useCheapHash({ users }: Credentials): Promise<void> {
  const hash = (await run(['openssl', 'passwd', '-6', '-salt', 'rounds=1000$ringway', PASSWORD])).trim();
  await writeFile(users, `${USER}:${hash}\n`, { mode: 0o600 });
}
