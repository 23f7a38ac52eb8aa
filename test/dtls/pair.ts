/** A client and a listener with its server, ready to be put on a network. */
import { DEFAULT_GROUPS, Group } from '../../src/crypto/groups.ts';
import { createReferenceVault } from '../../src/crypto/reference-vault.ts';
import { schemesOf } from '../../src/crypto/schemes.ts';
import { Suite } from '../../src/crypto/vault.ts';
import { DtlsClient } from '../../src/dtls/client.ts';
import { CookieSecrets } from '../../src/dtls/cookie.ts';
import { answerHello } from '../../src/dtls/listener.ts';
import { createMemoryProtection } from '../../src/dtls/memory-protection.ts';
import type { HelloAnswer, ListenerOptions } from '../../src/dtls/options.ts';
import type { RecordProtection } from '../../src/dtls/protection.ts';
import { DtlsServer } from '../../src/dtls/server.ts';
import type { Issued } from '../crypto/authority.ts';
import { TODAY } from '../crypto/authority.ts';
import { type Conditions, Network, type Party, seededBytes } from './network.ts';

export const vault = createReferenceVault();
export const ADDRESS = Uint8Array.of(192, 0, 2, 1, 0x6c, 0x2a);
export const ALL_SUITES = [Suite.chacha20, Suite.aes256, Suite.aes128];

export interface Setup {
  readonly root: Issued;
  /** Leaf first. */
  readonly chain: readonly Issued[];
  readonly seed: number;
  readonly conditions: Conditions;
  readonly suites?: readonly number[];
  readonly clientGroups?: readonly number[];
  readonly serverGroups?: readonly number[];
  readonly share?: number | undefined;
  readonly serverName?: string;
  readonly mtu?: number;
}

export interface Pair {
  readonly network: Network;
  readonly client: DtlsClient;
  readonly server: Party;
  readonly answers: HelloAnswer[];
  /** Of client and server; they outlive their endpoints as the session table does. */
  readonly protections: readonly [RecordProtection, RecordProtection];
}

export function listenerOptions(
  chain: readonly Issued[],
  seed: number,
  groups: readonly number[] = DEFAULT_GROUPS,
): ListenerOptions {
  const secrets = new CookieSecrets(vault, seededBytes(seed + 1)(32));
  const applicationData = (bytes: Uint8Array): Uint8Array => bytes;
  return { vault, secrets, suites: ALL_SUITES, groups, schemes: schemesOf(chain[0].privateKey), applicationData };
}

export function makePair(setup: Setup): Pair {
  const { chain, seed, conditions, root, mtu } = setup;
  const options = listenerOptions(chain, seed, setup.serverGroups);
  const answers: HelloAnswer[] = [];
  const protections = [createMemoryProtection(vault), createMemoryProtection(vault)] as const;
  const certificateChain = chain.map((each) => each.der);
  const server: Party = {
    endpoint: undefined,
    credentials: { certificateChain, privateKey: chain[0].privateKey },
    outputs: [],
    unbound: (now, datagram) => {
      const answer = answerHello(now, datagram, ADDRESS, options);
      answers.push(answer);
      if (answer.kind === 'retry') return answer.bytes;
      if (answer.kind === 'drop') return answer.bytes;
      const protection = protections[1];
      const own = { vault, random: seededBytes(seed + 2), protection, certificateChain, schemes: options.schemes, mtu };
      server.endpoint = new DtlsServer(now, answer.accepted, own);
      return undefined;
    },
  };
  const client = new DtlsClient({
    vault,
    random: seededBytes(seed + 3),
    protection: protections[0],
    suites: setup.suites ?? [Suite.aes128],
    groups: setup.clientGroups ?? [Group.x25519],
    ...('share' in setup ? { share: setup.share } : {}),
    mtu,
  });
  const credentials = { trustAnchors: [root.der], serverName: setup.serverName, now: () => TODAY };
  const network = new Network({ endpoint: client, credentials, outputs: [] }, server, conditions, seed);
  client.start(0);
  return { network, client, server, answers, protections };
}

export function isEstablished(pair: Pair): boolean {
  return pair.client.state === 'established' && pair.server.endpoint?.state === 'established';
}
