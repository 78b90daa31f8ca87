// How the programs are bundled. Plain JavaScript, as is what imports it.
import { chmodSync } from 'node:fs';
import { build } from 'esbuild';

/** The proxy that the launcher runs inside itself is a file of its own: a launch on a cluster never reads it. */
export const embeddedSatellite = {
  name: 'embedded-satellite',
  setup({ onResolve }) {
    onResolve({ filter: /^satellite$/ }, () => ({ path: './embedded-satellite.js', external: true }));
  },
};

/** A kind of question that nobody is asked: half a megabyte of tables of character sets hangs on it. */
const withoutEditor = {
  name: 'without-editor',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^@inquirer\/editor$/ }, () => ({ path: 'editor', namespace: 'without-editor' }));
    onLoad({ filter: /^/, namespace: 'without-editor' }, () => ({ contents: 'export default undefined;' }));
  },
};

/**
 * Bundles a program into one file, as CommonJS: it loads Node's own modules when they are needed, and an executable can
 * hold it. Returns the paths of what went in.
 */
export async function bundle(entry, outfile, plugins = []) {
  const { metafile } = await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    metafile: true,
    plugins: [withoutEditor, ...plugins],
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    // Names stay as they are: a stack in a report of a bug must say something.
    minifySyntax: true,
    minifyWhitespace: true,
    // The notices of what is inside come as a file: third-party-notices.ts.
    legalComments: 'none',
    define: { 'import.meta.url': 'importMetaUrl' },
    banner: { js: "const importMetaUrl = require('node:url').pathToFileURL(__filename).href;" },
    logLevel: 'warning',
  });
  chmodSync(outfile, 0o644);
  return Object.keys(metafile.inputs);
}
