/** Checks a login, and zeroes its password: the one place where user database and tokens meet. Runs in the crypto pool. */
import type { Auth } from '../wire/frames.ts';
import { parseTokenKey, verifyToken } from './tokens.ts';
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

export function createLogins(
  userDb: string | null,
  tokenKey: string | null,
): (request: LoginRequest) => Promise<LoginOutcome> {
  const users = userDb === null ? undefined : parseUserDb(userDb, 'user_db');
  const key = tokenKey === null ? undefined : parseTokenKey(tokenKey);
  return async ({ auth }) => {
    switch (auth.method) {
      case 'userPass': {
        const { user, password } = auth;
        try {
          if (!users) return { granted: false, user, reason: 'there is no user database' };
          return { granted: verifyPassword(users, user, password), user, reason: 'wrong user or password' };
        } finally {
          password.fill(0);
        }
      }
      case 'token':
      case 'versionedToken': {
        if (!key) return { granted: false, user: 'token', reason: 'tokens are not accepted here' };
        const verdict = await verifyToken(key, auth.token, Date.now() / 1000);
        return { granted: verdict === 'accepted', user: 'token', reason: verdict };
      }
      default:
        return { granted: false, user: auth.method, reason: 'this way of login is not offered' };
    }
  };
}
