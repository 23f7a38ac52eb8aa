/** Going on with an endpoint that another engine left behind. */
import { Alert, DtlsError } from './alerts.ts';
import { DtlsEndpoint } from './endpoint.ts';
import type { Endpoint, EndpointOptions } from './events.ts';
import { decodeSnapshot } from './snapshot.ts';

const MAX_MESSAGE = 16_384;

class RestoredEndpoint extends DtlsEndpoint {
  constructor(snapshot: Uint8Array, options: EndpointOptions) {
    const { role, nextSent, nextReceived } = decodeSnapshot(snapshot);
    super(
      { role, firstSent: nextSent, firstReceived: nextReceived, maxMessage: MAX_MESSAGE, maxReassembly: MAX_MESSAGE },
      options,
    );
    this.restore(snapshot);
  }

  protected override handshakeMessage(): void {
    throw new DtlsError(Alert.unexpectedMessage, 'handshake message after the handshake');
  }

  protected override taskDone(): void {} // no task is ever given out
  protected override flightAcknowledged(): void {}
  protected override forgetHandshake(): void {}
}

/** @param snapshot what `snapshot` of an endpoint gave. @throws RangeError if it is not one */
export function restoreEndpoint(snapshot: Uint8Array, options: EndpointOptions): Endpoint {
  return new RestoredEndpoint(snapshot, options);
}
