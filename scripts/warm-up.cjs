'use strict';
// node warm-up.cjs BUNDLE FILE ARGUMENT…: runs a program, and writes what V8 has compiled by its end to a file. Every name leads
// to a proxy of its own on loopback, whose certificate and key are in proxy.pem in its directory, if there are any.
const { writeFileSync, readFileSync } = require('node:fs');
const dns = require('node:dns');
const https = require('node:https');
const Module = require('node:module');
const path = require('node:path');
const vm = require('node:vm');

const [, , bundle, file, ...args] = process.argv;
const pem = readFileSync('proxy.pem');
const site = { token: 'warm-up', site: 'https://warm-up.localhost/' };

dns.lookup = (_name, _options, callback) =>
  setImmediate(callback, null, [{ address: '127.0.0.1', family: 4 }]);
const identity = pem.length > 0 ? { key: pem, cert: pem } : {};
const proxy = https.createServer(identity, (request, response) => {
  request.resume();
  response.writeHead(201, { 'content-type': 'application/json' }).end(JSON.stringify(site));
});
proxy.listen(0, '127.0.0.1', () => {
  // It ends with the program.
  proxy.unref();
  const text = readFileSync(process.env.START_JUPYTER_SITE_CONFIG, 'utf8');
  writeFileSync(process.env.START_JUPYTER_SITE_CONFIG, text.replace('PORT', proxy.address().port));
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
});
