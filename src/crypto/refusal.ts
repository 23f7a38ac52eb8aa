/** Alerts that cryptography can end in (RFC 8446 §6.2). */
export const CryptoAlert = {
  handshakeFailure: 40,
  badCertificate: 42,
  unsupportedCertificate: 43,
  certificateExpired: 45,
  illegalParameter: 47,
  unknownCa: 48,
  decryptError: 51,
} as const;

/** What a peer sent cannot be accepted. Carries the alert to answer with; never a secret. */
export class Refusal extends Error {
  readonly alert: number;

  constructor(alert: number, reason: string, options?: { cause?: unknown }) {
    super(reason, options);
    this.name = 'Refusal';
    this.alert = alert;
  }
}
