/** What the server is known by and whom it lets in, looked at before anything is opened: no engine would get further with it. */
import { checkPair } from '../crypto/pem.ts';
import type { ServerFiles } from '../keeper/protocol.ts';
import { createLogins } from './logins.ts';

/** @throws RingwayError CERT_UNREADABLE, KEY_UNREADABLE, KEY_KIND, KEY_MISMATCH, USER_DB_…, TOKEN_KEY */
export function checkServerFiles({ cert, key, userDb, tokenKey }: ServerFiles): void {
  checkPair(cert, key);
  createLogins(userDb, tokenKey);
}
