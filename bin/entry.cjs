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
if (process.argv.length === 4 && (argument === '--version' || argument === '-V')) {
  // The one answer for which nothing of the program has to be loaded.
  process.stdout.write(require('../package.json').version + '\n');
} else {
  // The programs see the arguments where Node.js itself puts them.
  process.argv.splice(1, 2, bundle);
  require(bundle);
}
