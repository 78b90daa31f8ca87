// Preloaded into the program under test (NODE_OPTIONS=--import): writes down every name that is looked up and every
// connection that is made, to the file in OBSERVED_NETWORK. Names in .test and .localhost
// lead to this machine.

import dns from 'node:dns';
import { appendFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import net from 'node:net';

const note = (what) => appendFileSync(process.env.OBSERVED_NETWORK, `${what}\n`);

const lookup = dns.lookup;
dns.lookup = (name, options, callback) => {
  note(`lookup ${name}`);
  return lookup(/\.(?:test|localhost)$/.test(name) ? '127.0.0.1' : name, options, callback);
};

const connect = net.Socket.prototype.connect;
net.Socket.prototype.connect = function observed(...args) {
  const [target] = args.flat();
  note(`connect ${typeof target === 'object' ? (target.path ?? `${target.host}:${target.port}`) : target}`);
  return connect.apply(this, args);
};

syncBuiltinESMExports();
