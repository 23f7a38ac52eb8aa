/**
 * What a person is told when something cannot be done. Programs match `code`, people read `message` (what failed and what
 * the machine said) and `advice` (what to do next). Never carries a secret.
 */
export class RingwayError extends Error {
  readonly code: string;
  readonly advice: string;

  constructor(code: string, message: string, advice: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'RingwayError';
    this.code = code;
    this.advice = advice;
  }
}
