/** Checks a login: the one place where user database and tokens meet. Runs in the crypto pool. */
import type { Auth } from '../wire/frames.ts';
import { createTokenVerifier } from './tokens.ts';
import { parseUserDb, verifyPassword } from './users.ts';

export interface LoginRequest {
  readonly auth: Auth;
}

export interface LoginOutcome {
  readonly granted: boolean;
  /** As the client names itself; for the log. */
  readonly user: string;
  readonly reason: string;
}

export function createLogins(userDb: string | null, tokenKey: string | null): (request: LoginRequest) => Promise<LoginOutcome> {
  const users = userDb === null ? undefined : parseUserDb(userDb, 'user_db');
  const verify = tokenKey === null ? undefined : createTokenVerifier(tokenKey);
  return async ({ auth }) => {
    switch (auth.method) {
      case 'userPass': {
        if (!users) return { granted: false, user: auth.user, reason: 'there is no user database' };
        const granted = await verifyPassword(users, auth.user, auth.password);
        return { granted, user: auth.user, reason: 'wrong user or password' };
      }
      case 'token':
      case 'versionedToken': {
        if (!verify) return { granted: false, user: 'token', reason: 'tokens are not accepted here' };
        const refusal = await verify(auth.token);
        return { granted: refusal === undefined, user: 'token', reason: refusal ?? '' };
      }
      default:
        return { granted: false, user: auth.method, reason: 'this way of login is not offered' };
    }
  };
}
