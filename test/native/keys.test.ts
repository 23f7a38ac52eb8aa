/** Keys of slots and secrets on handles, against Appendix B of the protocol specification and the reference vault. */
import { describe, expect, it } from 'vitest';
import { createNativeVault } from '../../src/crypto/native-vault.ts';
import { createReferenceVault } from '../../src/crypto/reference-vault.ts';
import { type HashName, Suite, type Vault } from '../../src/crypto/vault.ts';
import { PUBLIC_SLOT_BYTES, SECRET_SLOT_BYTES } from '../../src/datapath/layout.ts';
import { type Addon, type LanesHandle, loadAddon } from '../../src/native/index.ts';

const addon: Addon = loadAddon();
const hex = (text: string) => new Uint8Array(Buffer.from(text, 'hex'));
const textOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** Appendix B: application traffic secrets of epoch 3, and records as they were captured. */
const CLIENT = 'ec6bf9706a8b0ea23589d316436187d379ea8c271206ea0ba53434fd9d5905c25ccc166a24df1e38bb54a3a912f0c82e';
const SERVER = '203d4af8eaf87cbcdcf46880e7b3809716eeaae2a40439c512104af79863f4f25c94eeed46d2182291cc39afeca6b898';
const FROM_CLIENT = {
  data:
    '2f783a0075335376c664706b5ec55c9b64021f210a841ca21a2540a2076c669718b6da8f31f1058777b02e3902fb56fe829fbaa9d6c8fa5b7ff76eca23972f' +
    '59d6969af96b61cc33452fadb05d38964dd3382d168a3eb43ac4f91fb1c32b7a2cccd4dcfe3dbeaa619e9f95a873674e136c5a7c7589f98cae6655',
  keyUpdate: '2fcab2001e5de048cef849cb1e9cc20d0ee0add5b6ae468f46c2cf8cf6d85321bd9e3d',
  ack: '2ff96600231dcf9b1b3fbdfb7491e4c79b6d2e6e9af962b8289a24d7f86843cf308b84030867580f',
  close: '2cfaea0013dbd32970d36a0e7324e9b17200a27331e2b820',
};
const FROM_SERVER = {
  ack: '2fe4300023cf1be85856ca1cfee139ebd2f952be049ce46bf214be524fdf5780da0f49067c595cf8',
  keyUpdate: '2fd55d001e073c8d0dc8aba01048a950cfc6de1f9958ba08358fa1010321b4f37bfa62',
};

function createLanes(aead: 'ipsec-mb' | 'openssl'): { lanes: LanesHandle; secret: Uint8Array } {
  const slots = 4;
  const memory = {
    public: addon.createMemfd('public', slots * PUBLIC_SLOT_BYTES),
    secret: addon.createMemfd('secret', slots * SECRET_SLOT_BYTES),
  };
  const table = addon.openTable({ ...memory, slots, exposeSecrets: true });
  for (const descriptor of Object.values(memory)) addon.closeDescriptor(descriptor);
  const index = addon.createIndex(slots).handle;
  const made = { table: table.handle, index, shard: 0, shards: 1, generation: 7, aead };
  const lanes = addon.createLanes(made).handle;
  for (let slot = 0; slot < slots; slot++) addon.claimSlot(lanes, slot);
  return { lanes, secret: new Uint8Array(table.secret!) };
}

const install = (lanes: LanesHandle, slot: number, direction: 'send' | 'receive', secret: string) =>
  addon.slotInstall(lanes, slot, direction, 3, Suite.aes256, addon.secretImport('sha384', hex(secret)));

it('a slot is taken by the same engine or a later one, never taken back by an earlier', () => {
  const memory = {
    public: addon.createMemfd('public', PUBLIC_SLOT_BYTES),
    secret: addon.createMemfd('secret', SECRET_SLOT_BYTES),
  };
  const table = addon.openTable({ ...memory, slots: 1 });
  for (const descriptor of Object.values(memory)) addon.closeDescriptor(descriptor);
  const index = addon.createIndex(1).handle;
  const [earlier, later] = [256, 512].map(
    (generation) =>
      addon.createLanes({ table: table.handle, index, shard: 0, shards: 1, generation, aead: 'openssl' }).handle,
  );
  addon.claimSlot(earlier, 0);
  install(earlier, 0, 'send', SERVER);
  addon.claimSlot(earlier, 0);
  addon.claimSlot(later, 0);
  expect(addon.slotSeal(later, 0, 3, 23, new Uint8Array(1)).sequence).toBe(0);
  expect(() => addon.claimSlot(earlier, 0)).toThrow(/later engine/);
  expect(() => addon.slotSeal(earlier, 0, 3, 23, new Uint8Array(1))).toThrow(/generation/);
  expect(addon.slotSeal(later, 0, 3, 23, new Uint8Array(1)).sequence).toBe(1);
});

describe.each(addon.about().aead)('keys of a slot, %s', (aead) => {
  it('opens what the client of Appendix B sent, through the key update', () => {
    const { lanes } = createLanes(aead);
    install(lanes, 1, 'receive', CLIENT);
    expect(addon.slotOpen(lanes, 1, hex(FROM_CLIENT.data))).toEqual({
      epoch: 3,
      sequence: 0,
      contentType: 23,
      content: new Uint8Array(100).fill(0x78),
    });
    expect(addon.slotOpen(lanes, 1, hex(FROM_CLIENT.keyUpdate))).toMatchObject({ sequence: 1, contentType: 22 });
    expect(addon.slotOpen(lanes, 1, hex(FROM_CLIENT.close))).toBe(undefined); // epoch 4 is not installed yet
    expect(addon.slotUpdate(lanes, 1, 'receive')).toBe(4);
    expect(addon.slotOpen(lanes, 1, hex(FROM_CLIENT.close))).toMatchObject({
      epoch: 4,
      sequence: 0,
      content: hex('0100'),
    });
    expect(addon.slotOpen(lanes, 1, hex(FROM_CLIENT.ack))).toMatchObject({ epoch: 3, sequence: 2, contentType: 26 });
    expect(addon.slotOpen(lanes, 1, hex(FROM_CLIENT.data))).toBe('replayed');
    addon.slotDrop(lanes, 1, 'receive', 3);
    expect(addon.slotOpen(lanes, 1, hex(FROM_CLIENT.data))).toBe(undefined);
  });

  it('seals what both ends of Appendix B sent, byte for byte, and never a number twice', () => {
    const { lanes } = createLanes(aead);
    install(lanes, 0, 'send', CLIENT);
    install(lanes, 2, 'send', SERVER);
    const seal = (slot: number, type: number, content: string) => {
      const { bytes, sequence } = addon.slotSeal(lanes, slot, 3, type, hex(content));
      return [sequence, textOf(bytes)];
    };
    expect(seal(0, 23, '78'.repeat(100))).toEqual([0, FROM_CLIENT.data]);
    expect(seal(0, 22, '18000001000300000000000100')).toEqual([1, FROM_CLIENT.keyUpdate]);
    expect(seal(2, 26, '001000000000000000020000000000000000')).toEqual([0, FROM_SERVER.ack]);
    expect(seal(2, 22, '18000001000600000000000101')).toEqual([1, FROM_SERVER.keyUpdate]);
    install(lanes, 0, 'send', CLIENT); // the same secret again must not begin at 0 again
    expect(seal(0, 26, '00100000000000000003' + '0000000000000001')).toEqual([2, FROM_CLIENT.ack]);
    expect(addon.slotUpdate(lanes, 0, 'send')).toBe(4);
    expect(textOf(addon.slotSeal(lanes, 0, 4, 21, hex('0100')).bytes)).toBe(FROM_CLIENT.close);
  });

  it('leaves nothing of a session behind when its slot is cleared', () => {
    const { lanes, secret } = createLanes(aead);
    install(lanes, 3, 'send', CLIENT);
    install(lanes, 3, 'receive', SERVER);
    addon.laneStage(lanes, 3);
    addon.lanePromote(lanes, 3);
    addon.laneInstallReceive(lanes, 3, new Uint8Array(32).fill(9));
    const own = () => secret.subarray(3 * SECRET_SLOT_BYTES, 4 * SECRET_SLOT_BYTES);
    expect(own().some((byte) => byte !== 0)).toBe(true);
    addon.clearSlot(lanes, 3);
    expect(own().every((byte) => byte === 0)).toBe(true);
    expect([addon.laneSendValid(lanes, 3), addon.laneReceiveValid(lanes, 3)]).toEqual([false, false]);
  });

  it('promotes a staged key once, and keeps sending when its ACK is repeated', () => {
    const { lanes } = createLanes(aead);
    const key = addon.laneStage(lanes, 0);
    expect(addon.laneStaged(lanes, 0)).toEqual(key);
    expect(addon.laneSendValid(lanes, 0)).toBe(false);
    addon.lanePromote(lanes, 0);
    addon.lanePromote(lanes, 0);
    expect(addon.laneSendValid(lanes, 0)).toBe(true);
    addon.laneStageNone(lanes, 0);
    addon.lanePromote(lanes, 0);
    expect(addon.laneSendValid(lanes, 0)).toBe(false);
    addon.laneInstallReceive(lanes, 0, key);
    expect(addon.laneReceiveKeyIs(lanes, 0, key)).toBe(true);
    addon.laneInstallReceive(lanes, 0, new Uint8Array(32)); // all zeros: no key
    expect(addon.laneReceiveValid(lanes, 0)).toBe(false);
  });

  it('refuses wrong arguments by name, and seals nothing for another engine', () => {
    const { lanes } = createLanes(aead);
    const secret = () => addon.secretImport('sha256', new Uint8Array(32));
    const content = new Uint8Array(1);
    expect(() => addon.slotSeal(lanes, 0, 3, 23, content)).toThrow(/^slotSeal: epoch must be installed/);
    expect(() => addon.slotSeal(lanes, 4, 3, 23, content)).toThrow(/^slotSeal: slot must be an integer from 0 to 3/);
    expect(() => addon.slotInstall(lanes, 0, 'send', 2, Suite.aes256, secret())).toThrow(/^slotInstall: epoch/);
    expect(() => addon.slotInstall(lanes, 0, 'send', 3, Suite.aes256, secret())).toThrow(/suite's hash/);
    expect(() => addon.slotUpdate(lanes, 0, 'send')).toThrow(/^slotUpdate: slot must have an epoch installed/);
    const spent = secret();
    addon.slotInstall(lanes, 0, 'send', 3, Suite.aes128, spent);
    expect(() => addon.slotInstall(lanes, 1, 'send', 3, Suite.aes128, spent)).toThrow(/not destroyed/);
    expect(() => addon.indexGet({} as never, 'id', new Uint8Array(8))).toThrow(TypeError);
  });
});

describe('the native vault', () => {
  const bytes = new Uint8Array(200).map((_, i) => i * 7);
  const trafficSecret = (vault: Vault, hash: HashName) => {
    const early = vault.extract(hash, undefined, vault.importSecret(hash, bytes));
    return vault.expand(vault.extract(hash, vault.expand(early, 'derived', bytes), undefined), 'c ap traffic', bytes);
  };
  const [native, reference] = [createNativeVault(addon), createReferenceVault()];

  it.each(['sha256', 'sha384'] as const)('agrees with the reference vault on the key schedule of %s', (hash) => {
    for (const read of [
      (vault: Vault) => vault.digest(hash, [bytes, new Uint8Array(0), bytes.subarray(3)]),
      (vault: Vault) => vault.finished(trafficSecret(vault, hash), bytes.subarray(0, 32)),
      (vault: Vault) => vault.hmacSha256(trafficSecret(vault, hash), bytes),
    ])
      expect(textOf(read(native))).toBe(textOf(read(reference)));
  });

  it.each(Object.values(Suite))('seals and opens the same records as the reference vault, suite %i', (suite) => {
    const hash = suite === Suite.aes256 ? 'sha384' : 'sha256';
    const [ours, theirs] = [native, reference].map((vault) => vault.recordKeys(suite, trafficSecret(vault, hash)));
    for (const length of [0, 1, 2, 15, 16, 17, 100, 1400, 16_384]) {
      const content = new Uint8Array(length).map((_, i) => i * 3);
      const record = reference.sealRecord(theirs, 3, 0x1_2345, 23, content);
      expect(textOf(native.sealRecord(ours, 3, 0x1_2345, 23, content))).toBe(textOf(record));
      expect(native.openRecord(ours, record, 0x1_2340)).toEqual({ sequence: 0x1_2345, contentType: 23, content });
      for (const at of [0, 1, 5, record.length - 1]) {
        const forged = record.slice();
        forged[at] ^= 0x80;
        expect(native.openRecord(ours, forged, 0x1_2340)).toBe(undefined);
      }
      for (let end = 0; end < Math.min(record.length, 40); end++)
        expect(native.openRecord(ours, record.subarray(0, end), 0)).toBe(undefined);
    }
  });

  it('refuses secrets and keys that were destroyed', () => {
    const secret = trafficSecret(native, 'sha256');
    const keys = native.recordKeys(Suite.aes128, secret);
    keys.destroy();
    secret.destroy();
    secret.destroy(); // twice is once
    expect(() => native.expand(secret, 'derived', bytes)).toThrow(/not destroyed/);
    expect(() => native.sealRecord(keys, 3, 0, 23, bytes)).toThrow(/not destroyed/);
  });
});
