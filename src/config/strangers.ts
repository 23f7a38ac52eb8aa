/** Keys that a program does not know where they stand: whoever knows them elsewhere is told where they belong. */
import { backendKeys, RINGWAY_MAP, RINGWAY_PREFIX } from './backends.ts';
import { CLIENT_PREFIX, clientKeys } from './client-keys.ts';
import type { Written } from './file.ts';
import { type Layers, type Notice, unknowns } from './layers.ts';
import type { Origin, Problem } from './problem.ts';
import { SERVER_PREFIX, serverKeys } from './server-keys.ts';

type Role = 'server' | 'client';

const KNOWN: Readonly<Record<Role, readonly string[]>> = {
  server: Object.keys(serverKeys),
  client: [...Object.keys(clientKeys), 'servers'],
};
const PREFIX: Readonly<Record<Role, string>> = { server: SERVER_PREFIX, client: CLIENT_PREFIX };
const OWN = Object.keys(backendKeys);

interface Places {
  readonly file: ReadonlyMap<string, Written>;
  /** Below `ringway:`. */
  readonly own: ReadonlyMap<string, Written>;
  readonly env: Layers['env'];
}

/** Unknown keys of the file, of the `ringway:` map and of the environment. @param accept as notices */
export function strangers(
  role: Role,
  { file, own, env }: Places,
  accept: boolean,
  problems: Problem[],
  notices: Notice[],
): void {
  const settled = new Set([...KNOWN[role], RINGWAY_MAP, 'rust_log', 'config_file']);
  const prefix = PREFIX[role];
  const inFile = [...file].filter(([name]) => !settled.has(name)).map(placed);
  const inEnvironment = Object.keys(env)
    .filter((variable) => variable.startsWith(prefix) && !settled.has(variable.slice(prefix.length).toLowerCase()))
    .map((variable) => [variable.slice(prefix.length).toLowerCase(), { layer: 'environment', variable }] as const);
  const candidates = [...KNOWN[role], ...OWN.map((name) => `${RINGWAY_MAP}.${name}`)];
  const elsewhere = (name: string, origin: Origin) => (OWN.includes(name) ? below(name, origin) : ofOther(role, name));
  unknowns([...inFile, ...inEnvironment], candidates, accept, problems, notices, elsewhere);

  const inOwn = [...own].filter(([name]) => !OWN.includes(name)).map(placed);
  const atTop = (name: string) =>
    KNOWN[role].includes(name) ? `it belongs at the top of the file, not below ${RINGWAY_MAP}:` : ofOther(role, name);
  unknowns(inOwn, OWN, accept, problems, notices, atTop);
}

const placed = ([name, { origin, keyOrigin }]: [string, Written]) => [name, keyOrigin ?? origin] as const;

function below(name: string, origin: Origin): string {
  return origin.layer === 'environment'
    ? `set ${RINGWAY_PREFIX}${name.toUpperCase()}`
    : `it belongs below ${RINGWAY_MAP}:, as a line of its own (${name}: …)`;
}

function ofOther(role: Role, name: string): string | undefined {
  if (KNOWN[role].includes(name)) return undefined; // misspelt in a way that reading it mends
  const other = role === 'server' ? 'client' : 'server';
  return KNOWN[other].includes(name) ? `it is a key of the ${other}: remove it here` : undefined;
}
