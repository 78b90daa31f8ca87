// Bundles the programs. Plain JavaScript: it runs before anything has been built.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { besideLauncher, bundle } from './bundle.mjs';
import { removeCodeCaches, writeCodeCache } from './code-cache.mjs';

const bundles = [
  { entry: 'src/main.ts', outfile: 'dist/start-jupyter.js', plugins: [besideLauncher] },
  { entry: 'satellite/src/index.ts', outfile: 'dist/embedded-satellite.js' },
  { entry: 'execa', outfile: 'dist/execa.js' },
  { entry: '@inquirer/prompts', outfile: 'dist/prompts.js' },
  { entry: 'satellite/src/main.ts', outfile: 'satellite/dist/satellite.js' },
];

removeCodeCaches('dist/start-jupyter.js');
for (const { entry, outfile, plugins } of bundles) {
  await bundle(entry, outfile, plugins);
  // CommonJS, whatever the package above says.
  writeFileSync(path.join(path.dirname(outfile), 'package.json'), '{ "type": "commonjs" }\n');
}
writeCodeCache(path.resolve('dist/start-jupyter.js'));
