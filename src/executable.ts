/** What the self-contained executable runs: small, since all of it is read before the first line runs. */
import { writeSync } from 'node:fs';
import Module from 'node:module';
import path from 'node:path';
import * as sea from 'node:sea';
import vm from 'node:vm';
import packageJson from '../package.json' with { type: 'json' };

const [argument, ...others] = process.argv.slice(2);

// The one answer for which nothing of the programs has to be loaded, unless they must say why that can't be written.
const isVersionWanted = others.length === 0 && (argument === '--version' || argument === '-V');
if (!isVersionWanted || !hasWrittenVersion()) loadPrograms();

function hasWrittenVersion(): boolean {
  try {
    writeSync(1, `${packageJson.version}\n`);
    return true;
  } catch {
    return false;
  }
}

/** Both programs are one script inside the executable (`programs.ts`), with what V8 has made of it before. */
function loadPrograms(): void {
  const script = new vm.Script(Module.wrap(sea.getAsset('programs.js', 'utf8')), {
    filename: 'programs.js',
    cachedData: Buffer.from(sea.getRawAsset('programs.js.cache')),
  });
  const file = process.execPath;
  script.runInThisContext()({}, Module.createRequire(file), { exports: {} }, file, path.dirname(file));
}
