// How the programs are bundled. Plain JavaScript, as is what imports it.
import { chmodSync } from 'node:fs';
import { build } from 'esbuild';

/** The proxy that the launcher runs inside itself is a file of its own: a launch on a cluster never reads it. */
export const embeddedSatellite = besideIt(/^satellite$/, './embedded-satellite.js');

/** The HTTP client is half of the launcher, and its proxy wants it, too; who asks for help doesn't. */
export const sharedUndici = besideIt(/^undici$/, './undici.js');

/** Takes a module from a bundle that lies beside the one that wants it. */
function besideIt(filter, path) {
  return {
    name: path,
    setup({ onResolve }) {
      onResolve({ filter }, () => ({ path, external: true }));
    },
  };
}

/** A kind of question that nobody is asked: half a megabyte of tables of character sets hangs on it. */
const withoutEditor = {
  name: 'without-editor',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^@inquirer\/editor$/ }, () => ({ path: 'editor', namespace: 'without-editor' }));
    onLoad({ filter: /^/, namespace: 'without-editor' }, () => ({ contents: 'export default undefined;' }));
  },
};

/** The proxy's thread goes with it as text: an executable has no files beside it. What it is made of goes to `inputs`. */
const hashThread = (inputs) => ({
  name: 'hash-thread',
  setup({ onLoad }) {
    onLoad({ filter: /\/satellite\/src\/auth\/hash-thread\.ts$/ }, async ({ path }) => {
      const { outputFiles, metafile } = await build({
        entryPoints: [path.replace('hash-thread', 'hash-worker')],
        bundle: true,
        write: false,
        metafile: true,
        platform: 'node',
        target: 'node24',
        format: 'cjs',
        minify: true,
        legalComments: 'none',
      });
      inputs.push(...Object.keys(metafile.inputs));
      const program = JSON.stringify(outputFiles[0].text);
      return {
        contents: `import { Worker } from 'node:worker_threads';
export const startHashThread = () => new Worker(${program}, { eval: true });`,
      };
    });
  },
});

/**
 * Bundles a program into one file, as CommonJS: it loads Node's own modules when they are needed, and an executable can
 * hold it. Returns the paths of what went in.
 */
export async function bundle(entry, outfile, plugins = []) {
  const inputs = [];
  const { metafile } = await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    metafile: true,
    plugins: [withoutEditor, hashThread(inputs), ...plugins],
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
  return [...Object.keys(metafile.inputs), ...inputs];
}
