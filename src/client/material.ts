/** What the client trusts, looked at before anything is opened. */
import { derOf } from '../crypto/pem.ts';
import type { ClientFiles } from '../keeper/protocol.ts';

/** @throws RingwayError CERT_UNREADABLE */
export function checkClientFiles({ caCerts }: ClientFiles): void {
  for (const caCert of caCerts) derOf(caCert, 'ca_cert');
}
