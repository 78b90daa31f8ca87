'use strict';
// node warm-up.cjs BUNDLE FILE ARGUMENT…: runs a program, and writes what V8 has compiled by its end to a file.
const { writeFileSync, readFileSync } = require('node:fs');
const Module = require('node:module');
const path = require('node:path');
const vm = require('node:vm');

const [, , bundle, file, ...args] = process.argv;
const script = new vm.Script(Module.wrap(readFileSync(bundle, 'utf8')), { filename: bundle });
process.argv = [process.execPath, bundle, ...args];
process.on('exit', () => writeFileSync(file, script.createCachedData()));
const module_ = new Module(bundle);
script
  .runInThisContext()
  .call(
    module_.exports,
    module_.exports,
    Module.createRequire(bundle),
    module_,
    bundle,
    path.dirname(bundle),
  );
