/** How a session ended, told to a person: one line that says what happened and what to look at. */
import { RingwayError } from '../errors.ts';

/** Our close codes, and alerts we sent as REFUSED_n or got as PEER_ALERT_n (RFC 8446 §6.2) → code, sentence, advice. */
const ENDINGS: Record<string, readonly [code: string, sentence: string, advice: string]> = {
  UNAUTHORIZED: ['UNAUTHORIZED', 'refused the login', 'check user and password, or the token'],
  PEER_SILENT: ['SERVER_SILENT', 'does not answer', 'check address, port, mode (tcp or udp) and firewalls'],
  SERVER_REFUSED: ['SERVER_REFUSED', 'refuses TCP connections', 'check address, port and mode (tcp or udp)'],
  REFUSED_42: ['CERT_NAME', 'shows a certificate of another name', 'check server_dn'], // the reason has both names
  REFUSED_45: ['CERT_EXPIRED', 'shows a certificate that is expired or not yet valid', 'renew it, or check the clocks'],
  REFUSED_48: ['CERT_UNTRUSTED', 'shows a certificate that ca_cert does not vouch for', 'check ca_cert'],
  KEEPALIVE_TIMEOUT: ['SERVER_GONE', 'has stopped answering', 'start the client again when the network is back'],
  GOODBYE: ['SERVER_CLOSED', 'has ended the session', 'start the client again'],
  PEER_CLOSED: ['SERVER_CLOSED', 'has ended the session', 'start the client again'],
  PEER_GONE: ['SERVER_CLOSED', 'has closed the connection', 'start the client again'],
  LOGIN_TIMEOUT: ['LOGIN_TIMEOUT', 'did not answer the login', 'try again, or ask who runs the server'],
};

export function endingError(code: string, reason: string, server: string): RingwayError {
  const known = ENDINGS[code];
  if (known) {
    const [name, sentence, advice] = known;
    const details = name === 'CERT_NAME' ? `: ${reason}` : '';
    return new RingwayError(name, `the server ${server} ${sentence}${details}`, advice);
  }
  const message = `the session with the server ${server} has ended: ${reason} (${code})`;
  return new RingwayError('SESSION_ENDED', message, `docs/errors.md says what ${code} means`);
}
