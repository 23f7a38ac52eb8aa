import { defineConfig } from 'vitest/config';

/** End to end in network namespaces, one file at a time: they share two CPUs and the clock. */
export default defineConfig({
  test: {
    include: ['test/netns/**/*.test.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
