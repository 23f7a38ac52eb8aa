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

/**
 * A server certificate signed by the authority in `folder`. `days` may be 0 or less: it has run out then, one second or as many
 * days ago.
 */
export async function createCertificate(
  folder: string,
  options: { authority: string; name: string; days: number; file: string },
) {
  const { authority, name, days } = options;
  const [key, request, certificate] = ['key', 'csr', 'crt'].map((ending) => join(folder, `${options.file}.${ending}`));
  const extensions = join(folder, `${options.file}.ext`);
  await writeFile(extensions, `subjectAltName=DNS:${name}\n`);
  await run(['openssl', 'req', ...NEW_KEY, '-keyout', key, '-out', request, '-subj', `/CN=${name}`]);
  const signer = ['-CA', `${authority}.crt`, '-CAkey', `${authority}.key`, '-CAcreateserial'].map((word) =>
    word.startsWith('-') ? word : join(folder, word),
  );
  const out = ['-days', String(days), '-extfile', extensions, '-out', certificate];
  await run(['openssl', 'x509', '-req', '-in', request, ...signer, ...out]);
  await chmod(key, 0o600);
  return { certificate, key };
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
