// Bundles the programs. Plain JavaScript: it runs before anything has been built.
import { chmodSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { build } from 'esbuild';

/** The proxy that the launcher runs inside itself is a file of its own: a launch on a cluster never reads it. */
const embeddedSatellite = {
  name: 'embedded-satellite',
  setup({ onResolve }) {
    onResolve({ filter: /^satellite$/ }, () => ({ path: './embedded-satellite.js', external: true }));
  },
};

/** A kind of question that nobody is asked: half a megabyte of tables of character sets hangs on it. */
export const withoutEditor = {
  name: 'without-editor',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^@inquirer\/editor$/ }, () => ({ path: 'editor', namespace: 'without-editor' }));
    onLoad({ filter: /^/, namespace: 'without-editor' }, () => ({ contents: 'export default undefined;' }));
  },
};

const bundles = [
  { entry: 'src/main.ts', outfile: 'dist/start-jupyter.js', plugins: [embeddedSatellite, withoutEditor] },
  { entry: 'satellite/src/index.ts', outfile: 'dist/embedded-satellite.js' },
  { entry: 'satellite/src/main.ts', outfile: 'satellite/dist/satellite.js' },
];

for (const { entry, outfile, plugins = [] } of bundles) {
  await bundle(entry, outfile, plugins);
  // CommonJS, whatever the package above says.
  writeFileSync(path.join(path.dirname(outfile), 'package.json'), '{ "type": "commonjs" }\n');
}

/** As CommonJS, which loads Node's own modules when they are needed, and which an executable can hold. */
export async function bundle(entry, outfile, plugins = []) {
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    plugins,
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    // Names stay as they are: a stack in a report of a bug must say something.
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'none',
    define: { 'import.meta.url': 'importMetaUrl' },
    banner: { js: "const importMetaUrl = require('node:url').pathToFileURL(__filename).href;" },
    logLevel: 'warning',
  });
  chmodSync(outfile, 0o644);
}
