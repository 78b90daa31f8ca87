'use strict';
// Sets a fresh checkout up: dependencies (which bring the Node.js that the project wants), then the two bundles.
// Everything is said on stderr; stdout belongs to the program that was asked for.
var childProcess = require('child_process');
var fs = require('fs');
var path = require('path');

var root = process.argv[2];
var program = process.argv[3];
var lock = path.join(root, '.setup.lock');

function say(text) {
  process.stderr.write(program + ': ' + text + '\n');
}

function fail(text) {
  say(text);
  process.exit(3);
}

function run(title, command, args) {
  say(title);
  var started = Date.now();
  var result = childProcess.spawnSync(command, args, { cwd: root, encoding: 'utf8' });
  if (result.status !== 0) {
    var lines = String((result.stderr || '') + (result.stdout || '') || result.error)
      .trim()
      .split('\n');
    process.stderr.write(lines.slice(-15).join('\n') + '\n');
    fs.rmdirSync(lock);
    fail('could not set up this checkout ("' + command + ' ' + args.join(' ') + '" failed in ' + root + ').');
  }
  say('  done in ' + Math.round((Date.now() - started) / 1000) + ' s');
}

try {
  fs.mkdirSync(lock);
} catch (error) {
  if (error.code === 'EEXIST') {
    fail(
      'another first use is setting this checkout up. Try again in a minute; if nothing is, remove ' +
        lock +
        '.',
    );
  }
  fail(
    'this copy has not been set up yet and ' +
      root +
      ' is not writable for you. Ask its owner to run ' +
      root +
      '/bin/' +
      program +
      ' --version once.',
  );
}
['SIGINT', 'SIGTERM', 'SIGHUP'].forEach((signal) => {
  process.on(signal, () => {
    fs.rmdirSync(lock);
    process.exit(130);
  });
});
say('first use of this checkout, setting it up (about half a minute).');
run('installing what it needs with npm …', 'npm', ['install', '--no-save', '--no-audit', '--no-fund']);
var bundledNode = path.join(root, 'node_modules', 'node', 'bin', 'node');
run('building …', fs.existsSync(bundledNode) ? bundledNode : process.execPath, ['scripts/build.mjs']);
fs.rmdirSync(lock);
