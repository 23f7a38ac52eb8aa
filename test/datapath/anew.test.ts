/**
 * A client that has crashed begins anew from the address and port that its session still has, while somebody floods that address: shards hear few
 * ClientHellos for a session that is Online, and nothing else in plaintext, which has to be enough at once.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { Group } from '../../src/crypto/groups.ts';
import { parseIpv4 } from '../../src/server/leases.ts';
import { SECOND } from '../../src/wire/time.ts';
import { namespaceRefusal } from '../io/rig.ts';
import { build, bytesOf, concat, UDP } from '../packet/packets.ts';
import { CLIENT_INSIDE, flavours, NET_ADDRESS, numbered, Rig, RigClient } from './rig.ts';

const refusal = namespaceRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

/** What a stock client sends of each datagram before it is Online (protocol specification §1.6). */
const COPIES = 3;
const FLOOD = 200;

let rig: Rig | undefined;
afterEach(() => {
  rig?.close();
  rig = undefined;
});

/** A ServerHello in plaintext, behind the header of somebody's datagram. */
const plain = (datagram: Uint8Array) =>
  concat(
    datagram.slice(0, 5),
    new Uint8Array(1), // not by the Expresslane
    datagram.slice(6, 16),
    bytesOf('u8', 22, 'u16', 0xfefd, 'u16', 0, 'u48', 9, 'u16', 40, 'u8', 2),
    new Uint8Array(39),
  );
const copies = (datagrams: readonly Uint8Array[]) => datagrams.flatMap((each) => Array(COPIES).fill(each));

describe.skipIf(refusal !== undefined).each(flavours())('over %s with %s', (io, aead) => {
  it.each([
    ['one', Group.x25519],
    ['two', Group.x25519MlKem768],
  ])('a client comes in from the address of its session, its second hello three times in %s', (_pieces, group) => {
    rig = new Rig({ io, aead, shards: 1 });
    const old = rig.connect(2);
    const { slot } = old;
    rig.now += SECOND;
    const anew = new RigClient(rig, 3, { groups: [group] });
    anew.socket.close();
    anew.socket = old.socket;
    rig.clients.splice(0, 1, anew);

    const flood = () => {
      const counted = rig?.counted(() => {
        anew.send(Array(FLOOD).fill(plain(old.lane(numbered(0)))));
        rig?.turn();
      });
      expect(counted).toEqual({ unprotected: FLOOD });
    };
    flood();
    anew.send(copies(anew.taken()));
    rig.turn();
    flood();
    for (const datagram of anew.socket.receive()) anew.hear(datagram);
    const second = anew.taken();
    expect(second.length).toBe(group === Group.x25519 ? 1 : 2);
    const counted = rig.counted(() => {
      anew.send(copies(second));
      rig?.pass(SECOND, SECOND / 10); // what the strangers' share of the time left out is repeated
    });

    expect(anew.session.state).toBe('online');
    expect(rig.table.fields.currentId.equals(slot, bytesOf('u64', old.id as never))).toBe(false);
    expect(counted).toMatchObject({ sessionsClosed: 1, sessionsOpened: 1 });
    const packet = build({ ...UDP, source: parseIpv4(CLIENT_INSIDE), destination: NET_ADDRESS, payload: numbered(1) });
    rig.inside.receive();
    anew.send([anew.lane(packet)]);
    rig.settle();
    expect(rig.inside.receive()).toHaveLength(1);
  });
});
