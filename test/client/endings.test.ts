import { describe, expect, it } from 'vitest';
import { describe as inWords } from '../../src/cli/report.ts';
import { endingError } from '../../src/client/endings.ts';
import { CLOSE_REASON } from '../../src/session/types.ts';

const line = (code: string, reason: string) => inWords(endingError(code, reason, '10.9.0.2:27690'), {});

describe('how a session ended', () => {
  it('is said once, with what to look at', () => {
    expect(line('UNAUTHORIZED', CLOSE_REASON.UNAUTHORIZED)).toBe(
      'ringway: the server 10.9.0.2:27690 refused the login — check user and password, or the token [UNAUTHORIZED]',
    );
  });

  it('names both names where they differ', () => {
    expect(line('REFUSED_42', 'asked for a.example, it is for DNS:b.example')).toBe(
      'ringway: the server 10.9.0.2:27690 shows a certificate of another name: asked for a.example, it is for DNS:b.example ' +
        '— check server_dn [CERT_NAME]',
    );
  });

  it('keeps the reason where there is no sentence for it', () => {
    expect(line('BAD_FRAME', CLOSE_REASON.BAD_FRAME)).toBe(
      'ringway: the session with the server 10.9.0.2:27690 has ended: the peer sent a malformed frame (BAD_FRAME) — ' +
        'docs/errors.md says what BAD_FRAME means [SESSION_ENDED]',
    );
  });
});
