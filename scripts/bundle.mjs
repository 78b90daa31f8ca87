// How the programs are bundled. Plain JavaScript, as is what imports it.
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import { build } from 'esbuild';

/**
 * Files of their own, beside the launcher's: the proxy that it runs inside itself, and libraries that a launch on a cluster
 * has no use for. It never reads them, nor what V8 made of them.
 */
const filesBeside = {
  satellite: 'embedded-satellite.js',
  execa: 'execa.js',
  '@inquirer/prompts': 'prompts.js',
};

export const besideLauncher = {
  name: 'beside-launcher',
  setup({ onResolve }) {
    for (const [name, file] of Object.entries(filesBeside))
      onResolve({ filter: new RegExp(`^${name}$`) }, () => ({ path: `./${file}`, external: true }));
  },
};

/** What systems.yaml says, read and checked already. */
const readCatalogue = {
  name: 'read-catalogue',
  setup({ onLoad }) {
    onLoad({ filter: /\/src\/config\/read-catalogue\.ts$/ }, async () => {
      const { builtInFile, loadFile } = await import('../src/config/files.ts');
      const text = readFileSync(builtInFile, 'utf8');
      const { content } = await loadFile({ layer: 'built in', path: builtInFile });
      const json = JSON.stringify({ text, content });
      return { contents: `export const readCatalogue = () => JSON.parse(${JSON.stringify(json)});` };
    });
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
    plugins: [readCatalogue, withoutEditor, hashThread(inputs), ...plugins],
    platform: 'node',
    target: 'node24',
    format: 'cjs',
    // Each import() becomes a require(): no loader of modules has to be brought along.
    supported: { 'dynamic-import': false },
    // Names stay as they are: a stack in a report of a bug must say something.
    minifySyntax: true,
    minifyWhitespace: true,
    // The notices of what is inside come as a file: third-party-notices.ts.
    legalComments: 'none',
    define: { 'import.meta.url': 'importMetaUrl' },
    banner: { js: "const importMetaUrl = require('node:url').pathToFileURL(__filename).href;" },
    logLevel: 'warning',
  });
  // Each `import path from 'node:path'` would copy all that is in the module, which costs a launch a millisecond.
  const imported = /__toESM\(require\("(node:[a-z/_]+)"\)(?:, ?1)?\)/g;
  // A few characters beyond ASCII would make V8 keep two bytes for each one of a megabyte. Those that are left stand in
  // regular expressions and texts, where an escape means the same.
  const text = readFileSync(outfile, 'utf8')
    .replace(imported, (_, name) => `({__proto__:require("${name}"),default:require("${name}")})`)
    .replace(/[^\0-\x7f]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
  writeFileSync(outfile, text);
  chmodSync(outfile, 0o644);
  return [...Object.keys(metafile.inputs), ...inputs];
}
