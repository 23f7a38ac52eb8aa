import { defineConfig } from 'vitest/config';

/** The addon under AddressSanitizer and UndefinedBehaviorSanitizer (bin/test-native.sh sets that up). */
export default defineConfig({
  test: {
    include: [
      'test/native/**/*.test.ts',
      'test/wycheproof/groups.test.ts',
      'test/datapath/pass.test.ts',
      'test/datapath/trains.test.ts',
      'test/datapath/pings.test.ts',
    ],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 60_000,
  },
});
