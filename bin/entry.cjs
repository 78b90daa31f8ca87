'use strict';
// Plain JavaScript that any Node.js can read, so that one that is too old gets a sentence and no syntax error.
var needed = 24;
var bundle = process.argv[2];
if (parseInt(process.versions.node, 10) < needed) {
  console.error(
    'This program needs Node.js ' +
      needed +
      ' or later, and ' +
      process.execPath +
      ' is ' +
      process.versions.node +
      '.\n' +
      'Load a newer one (for example "module load nodejs") or install it beside the program with "npm install".',
  );
  process.exit(3);
}
// The programs see the arguments where Node.js itself puts them.
process.argv.splice(1, 2, bundle);
require(bundle);
