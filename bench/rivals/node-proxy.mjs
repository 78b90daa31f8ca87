/**
 * A proxy over TLS made with httpxy or http-proxy-3, as their documentation shows it, with connections to the notebook
 * kept alive: node node-proxy.mjs LIBRARY PORT TARGET CERTIFICATE KEY
 */
import { readFileSync } from 'node:fs';
import { Agent } from 'node:http';
import { createServer } from 'node:https';

const [library, port, target, cert, key] = process.argv.slice(2);
const { createProxyServer } = await import(library);
const proxy = createProxyServer({ target, agent: new Agent({ keepAlive: true }), xfwd: true });
const report = (error) => console.error(error.message);
proxy.on('error', report);
const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (request, response) => {
  void Promise.resolve(proxy.web(request, response)).catch(report);
});
server.on('upgrade', (request, socket, head) => {
  void Promise.resolve(proxy.ws(request, socket, head)).catch(report);
});
server.listen(Number(port), '127.0.0.1');
