// Bundles each program into one file. Plain JavaScript: it runs before anything has been built.
import { chmodSync } from 'node:fs';
import { build } from 'esbuild';

const programs = [
  { entry: 'src/cli.ts', outfile: 'dist/start-jupyter.js' },
  { entry: 'satellite/src/cli.ts', outfile: 'satellite/dist/satellite.js' },
];

for (const { entry, outfile } of programs) {
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    // Bundled CommonJS dependencies call require() for Node's own modules.
    banner: {
      js: "import { createRequire as _cr } from 'node:module'; const require = _cr(import.meta.url);",
    },
    logLevel: 'warning',
  });
  chmodSync(outfile, 0o644);
}
