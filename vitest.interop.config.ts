import { defineConfig } from 'vitest/config';

/** Against DTLS 1.3 peers that nobody here wrote (test/interop/README.md). */
export default defineConfig({
  test: {
    include: ['test/interop/**/*.test.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 600_000,
  },
});
