import { defineConfig } from 'vitest/config';

/** Unit, property and vector tests: everything that needs neither namespaces, nor sanitizers, nor other people's programs. */
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    exclude: ['test/netns/**', 'test/interop/**', 'test/stock/**', 'test/native/**'],
    pool: 'forks',
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
