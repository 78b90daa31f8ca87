/** Every change that a session makes on disk, from its launch to its end: a program for tests that interrupt it. */
import { createSession, settle, writeRecord } from '../../src/sessions/store.ts';
import { sessionRecord } from './sessions.ts';

const record = sessionRecord('abcdef', { jobId: null });
const secrets = {
  jupyterToken: 'jupytertoken',
  proxyToken: 'one-two-three',
  site: 'https://one-two-three.sites.test/',
};
createSession(record, secrets, '#!/bin/bash\n');
const submitted = { ...record, jobId: '3' };
writeRecord(submitted);
settle(submitted, { state: 'ended', reason: 'Over.', at: new Date().toISOString() });
