'use strict';
// Plain JavaScript that any Node.js can read, so that one that is too old gets a sentence and no syntax error.
var needed = 24;
var bundle = process.argv[2];
var argument = process.argv[3];
if (parseInt(process.versions.node, 10) < needed) {
  console.error(
    'This program needs Node.js ' +
      needed +
      ' or later, and ' +
      process.execPath +
      ' is ' +
      process.versions.node +
      '.\n' +
      'Load a newer one (for example "module load nodejs") or use the executable that needs none.',
  );
  process.exit(3);
}
// The one answer for which nothing of the program has to be loaded, unless it must say why that can't be written.
if (process.argv.length !== 4 || !(argument === '--version' || argument === '-V') || !hasWrittenVersion()) {
  // The programs see the arguments where Node.js itself puts them.
  process.argv.splice(1, 2, bundle);
  load(bundle);
}

function hasWrittenVersion() {
  try {
    require('fs').writeSync(1, require('../package.json').version + '\n');
    return true;
  } catch (_) {
    return false;
  }
}

// As require() does it, with what this very V8 has made of the bundle before (scripts/code-cache.mjs): compiling would
// take longer than reading it.
function load(file) {
  var fs = require('fs');
  var Module = require('module');
  var vm = require('vm');
  var cachedData;
  try {
    cachedData = fs.readFileSync(file + '.' + process.versions.v8 + '-' + process.arch + '.cache');
  } catch (_) {
    require(file);
    return;
  }
  var script = new vm.Script(Module.wrap(fs.readFileSync(file, 'utf8')), {
    filename: file,
    cachedData: cachedData,
  });
  var module = new Module(file);
  var directory = file.slice(0, file.lastIndexOf('/'));
  script
    .runInThisContext()
    .call(module.exports, module.exports, Module.createRequire(file), module, file, directory);
}
