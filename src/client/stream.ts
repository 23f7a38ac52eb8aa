/** A session over TCP, from the client's side: TLS 1.3 by `node:tls`, then the same Lightway session. */
import tls from 'node:tls';
import { otherName } from '../crypto/certificates.ts';
import type { Control } from '../datapath/control.ts';
import type { ShardReport } from '../datapath/host.ts';
import { SlotFlag } from '../datapath/layout.ts';
import { StreamPeer } from '../datapath/stream-peer.ts';
import { ClientSession } from '../session/client.ts';
import { VERSION_1_1 } from '../wire/header.ts';
import type { ClientRole } from './sessions.ts';

export interface StreamTarget {
  readonly address: string;
  readonly portNumber: number;
  readonly caCert: string;
  /** Empty: any name will do (protocol specification §2.11). */
  readonly serverName: string;
  readonly suites: string;
}

const GROUPS = 'X25519MLKEM768:X25519:P-256';
const CONNECT_MS = 12_700;

/** What OpenSSL calls it → the alert a DTLS client would have sent, so that both transports report alike. */
const REFUSALS: Record<string, string> = {
  CERT_HAS_EXPIRED: 'REFUSED_45',
  CERT_NOT_YET_VALID: 'REFUSED_45',
  ERR_TLS_CERT_ALTNAME_INVALID: 'REFUSED_42',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: 'REFUSED_48',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'REFUSED_48',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'REFUSED_48',
  SELF_SIGNED_CERT_IN_CHAIN: 'REFUSED_48',
  ECONNREFUSED: 'SERVER_REFUSED',
  ETIMEDOUT: 'PEER_SILENT',
};

/** In the words of a DTLS client where it is about names: OpenSSL's repeat one of them, or none. */
function reasonOf(error: NodeJS.ErrnoException & { readonly cert?: tls.PeerCertificate }, serverName: string): string {
  if (REFUSALS[error.code ?? ''] !== 'REFUSED_42') return error.message;
  return otherName(serverName, error.cert?.subjectaltname ?? `CN=${error.cert?.subject?.CN ?? ''}`);
}

export function connectStream(
  control: Control,
  role: ClientRole,
  target: StreamTarget,
  report: (report: ShardReport) => void,
  wake: () => void,
): void {
  const socket = tls.connect({
    host: target.address,
    port: target.portNumber,
    ca: target.caCert,
    minVersion: 'TLSv1.3',
    maxVersion: 'TLSv1.3',
    ciphers: target.suites,
    ecdhCurve: GROUPS,
    ...(target.serverName === ''
      ? { checkServerIdentity: () => undefined }
      : { checkServerIdentity: (_host, certificate) => tls.checkServerIdentity(target.serverName, certificate) }),
  });
  let linked = false;
  const failed = (code: string, reason: string) => {
    if (linked) return;
    linked = true;
    socket.destroy();
    report({ type: 'ended', code, reason });
  };
  const timer = setTimeout(() => failed('PEER_SILENT', 'no TLS handshake in 12.7 s'), CONNECT_MS);
  const refused = (error: NodeJS.ErrnoException) =>
    failed(REFUSALS[error.code ?? ''] ?? 'OUTER_FAILED', reasonOf(error, target.serverName));
  const closed = () => failed('PEER_CLOSED', 'the server closed the connection');
  socket.on('error', refused);
  socket.on('close', closed);
  socket.once('secureConnect', () => {
    clearTimeout(timer);
    linked = true;
    role.prepareSlot(VERSION_1_1, SlotFlag.client | SlotFlag.stream);
    const session = new ClientSession(role.sessionConfig, VERSION_1_1, undefined);
    session.start(control.now());
    const peer = new StreamPeer(role.slot, socket, session, control, control.table, (each) => {
      control.reschedule(each);
      wake();
    });
    control.add(peer, peer.write);
    peer.linkUp(control.now());
  });
}
