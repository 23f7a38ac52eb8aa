/** Alerts (RFC 8446 §6) and the error that ends in one. */

export const Alert = {
  closeNotify: 0,
  unexpectedMessage: 10,
  handshakeFailure: 40,
  badCertificate: 42,
  illegalParameter: 47,
  decodeError: 50,
  decryptError: 51,
  protocolVersion: 70,
  internalError: 80,
  userCanceled: 90,
  missingExtension: 109,
  unsupportedExtension: 110,
} as const;

const LEVEL_WARNING = 1;
const LEVEL_FATAL = 2;

/** What the peer sent breaks the protocol. The only error that decoders of this folder throw. */
export class DtlsError extends Error {
  readonly alert: number;

  constructor(alert: number, message: string) {
    super(message);
    this.name = 'DtlsError';
    this.alert = alert;
  }
}

/** `level u8 | description u8`. Close notices are warnings by name only. */
export function encodeAlert(description: number): Uint8Array {
  return Uint8Array.of(
    description === Alert.closeNotify || description === Alert.userCanceled ? LEVEL_WARNING : LEVEL_FATAL,
    description,
  );
}

/** @throws DtlsError if it is not two bytes */
export function decodeAlert(content: Uint8Array): { description: number } {
  if (content.length !== 2) throw new DtlsError(Alert.decodeError, 'alert is not two bytes');
  return { description: content[1] };
}
