import { defineConfig } from 'vitest/config';

/** Tests of the proxy that take too long for `npm run check`. */
const long = [
  'satellite/test/fuzz/*.test.ts',
  'satellite/test/{commands,dataplane,hostile,http2,life,smuggling,stop}.test.ts',
];

/** End-to-end tests on this machine itself: a real browser, and no cluster. */
const withoutLab = ['test/e2e/browser/*.test.ts', 'test/e2e/embedded.test.ts'];

export default defineConfig({
  test: {
    // Most tests wait for other processes most of the time: two cores carry three files at once.
    maxWorkers: 3,
    // Limits are there for what hangs: a busy machine is no fault of a test.
    expect: { poll: { timeout: 30_000 } },
    // What a page said that is not what was expected is quoted: what happened in CI can't be asked again.
    chaiConfig: { truncateThreshold: 2000 },
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/e2e/**', 'test/integration/**'],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts', 'satellite/test/integration/**/*.test.ts'],
          globalSetup: ['test/integration/setup.ts'],
          testTimeout: 120_000,
          hookTimeout: 600_000,
        },
      },
      {
        test: {
          name: 'satellite',
          include: ['satellite/test/**/*.test.ts'],
          exclude: ['satellite/test/integration/**', 'satellite/test/{attached,haproxy}.test.ts', ...long],
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'long',
          include: long,
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          // What engine node does, engine haproxy does; satellite/test/differences.ts lists what is otherwise.
          name: 'haproxy',
          include: [
            'satellite/test/{attached,auth,dataplane,direct,haproxy,hostile,http2,limits,metrics,pages,paths,proxy-protocol,routes,secrecy,smuggling,stop,upgrade}.test.ts',
            'satellite/test/integration/tls.test.ts',
          ],
          env: { SATELLITE_TEST_ENGINE: 'haproxy' },
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'browser',
          include: withoutLab,
          // Each wait of theirs has a limit, and says what the page showed.
          testTimeout: 600_000,
          hookTimeout: 600_000,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          exclude: withoutLab,
          // The lab is one cluster of two small nodes: files take turns.
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
});
