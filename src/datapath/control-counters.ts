/** What session.control counts beside the verdicts of packets: one number an event. */
export interface ControlCounters {
  strangers: number;
  /** Trains from outside; packets for a session or stream that is gone. */
  unknownSlot: number;
  wrongAddress: number;
  rejectsSent: number;
  /** Keepalives, and probes of the path, that the addon has answered. */
  pings: number;
  floats: number;
  idMismatch: number;
  /** ClientHellos from addresses of established sessions, not heard because strangers had used up their share; and what found too much waiting before it. */
  overload: number;
  outputLost: number;
  /** Packets for a peer over TCP that does not read. */
  streamFull: number;
  gsoRefused: number;
  /** Probes of the path MTU that did not leave: longer than the interface takes, or refused otherwise. */
  probesRefused: number;
  sessionsOpened: number;
  sessionsClosed: number;
}

export function createControlCounters(): ControlCounters {
  return {
    strangers: 0,
    unknownSlot: 0,
    wrongAddress: 0,
    rejectsSent: 0,
    pings: 0,
    floats: 0,
    idMismatch: 0,
    overload: 0,
    outputLost: 0,
    streamFull: 0,
    gsoRefused: 0,
    probesRefused: 0,
    sessionsOpened: 0,
    sessionsClosed: 0,
  };
}
