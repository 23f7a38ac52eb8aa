import { defineConfig } from 'vitest/config';

/** Against the stock Lightway programs named by RINGWAY_STOCK_SERVER and RINGWAY_STOCK_CLIENT; skipped, and said so, without them. */
export default defineConfig({
  test: {
    include: ['test/stock/**/*.test.ts'],
    pool: 'forks',
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
