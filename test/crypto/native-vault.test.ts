import { createNativeVault } from '../../src/crypto/native-vault.ts';
import { loadAddon } from '../../src/native/index.ts';
import { testVault } from './vault-suite.ts';

testVault('native', () => createNativeVault(loadAddon()));
