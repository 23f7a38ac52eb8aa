/**
 * The keeper's end of the channel to its engine: Node's own form of it (a message is a line of JSON on descriptor 3), read here. An engine
 * parses what strangers send, and may have been taken over by one: what it says is looked at before anybody acts on it, and nothing
 * it writes can end the keeper.
 */
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { RingwayError } from '../errors.ts';
import type { EngineMessage } from './protocol.ts';

/** Characters. The statistics of 64 shards are a twentieth of it. */
const LONGEST_MESSAGE = 8 << 20;

type Fields = Readonly<Record<string, unknown>>;
type Check = (value: unknown) => boolean;

const isText: Check = (value) => typeof value === 'string';
const isNumber: Check = (value) => typeof value === 'number';
const isAddress: Check = (value) => typeof value === 'string' && isIP(value) !== 0 && !value.includes('%');
const isMap = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value);

/** Fields that are acted on or printed. What else a message has is nobody's concern. */
const FORMS: Readonly<Record<EngineMessage['type'], Readonly<Record<string, Check>>>> = {
  hello: { version: isNumber, release: isText },
  ready: {},
  clientOnline: {
    networkConfig: (network) =>
      isMap(network) &&
      isAddress(network.serverAddress) && // goes to `ip route`
      [network.localIp, network.peerIp, network.dnsIp].every(isText) &&
      isNumber(network.mtu),
  },
  statistics: { id: isNumber, statistics: isMap },
  fatal: { code: isText, message: isText, advice: isText },
  stopped: {},
};

/** @param line without its end. @throws RingwayError ENGINE_MESSAGE, and nothing else */
export function parseEngineMessage(line: string): EngineMessage {
  let message: unknown;
  try {
    message = JSON.parse(line);
  } catch {
    throw unlike('is no JSON'); // without the cause, which quotes it
  }
  if (!isMap(message) || typeof message.type !== 'string' || !Object.hasOwn(FORMS, message.type))
    throw unlike('has no type that is known');
  const { type } = message as { type: EngineMessage['type'] };
  for (const [name, holds] of Object.entries(FORMS[type]))
    if (!Object.hasOwn(message, name) || !holds(message[name])) throw unlike(`of type ${type} has no proper ${name}`);
  return message as unknown as EngineMessage;
}

function unlike(how: string): RingwayError {
  return new RingwayError('ENGINE_MESSAGE', `what the engine said ${how}`, 'report this: it is a flaw, or an attack');
}

/** Reads messages as they come; after the first that is none, `refused` is told and nothing more is read. */
export function listen(
  channel: Duplex,
  heard: (message: EngineMessage) => void,
  refused: (error: RingwayError) => void,
) {
  let pending = '';
  channel.setEncoding('utf8');
  channel.on('error', () => {}); // the engine is gone: its exit says so
  channel.on('data', function read(text: string) {
    const lines = (pending + text).split('\n');
    pending = lines.pop() ?? '';
    try {
      for (const line of lines) heard(parseEngineMessage(line));
      if (pending.length > LONGEST_MESSAGE) throw unlike('has no end');
    } catch (error) {
      if (!(error instanceof RingwayError)) throw error;
      channel.off('data', read).resume();
      refused(error);
    }
  });
}
