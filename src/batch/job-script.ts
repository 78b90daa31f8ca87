/** The job script of one launch. */
import type { SatelliteAddress } from '../access/satellite.ts';
import type { LaunchSpec } from '../launch-spec.ts';
import { schedulers } from '../schedulers/registry.ts';
import { sessionFiles } from '../sessions/store.ts';
import { renderScript } from './render.ts';

export function jobScript(spec: LaunchSpec, sessionId: string, proxy: SatelliteAddress): string {
  const { directory, log } = sessionFiles(sessionId);
  const { scheduler, nodeAddress } = spec.system;
  const manage = new URL(proxy.manageUrl);
  const values = {
    sessionId,
    sessionDirectory: directory,
    service: spec.service ?? '',
    startDirectory: spec.directory,
    modules: spec.environment.modules,
    modulePath: spec.environment.modulePath,
    venv: spec.environment.venv ?? '',
    variables: spec.environment.variables,
    setupFile: spec.environment.setup ?? '',
    scratchDirectory: spec.environment.scratchDirectory ?? '',
    idleTimeoutSeconds: spec.idleTimeout ?? '',
    nodeAddress: spec.access === 'local' ? '127.0.0.1' : (nodeAddress ?? ''),
    // Where names of sites lead to one known address, curl and wget are sent there with the name in the Host header.
    manageUrl:
      proxy.connectTo === undefined ? manage.origin : `${manage.protocol}//${proxy.connectTo}:${manage.port}`,
    manageHost: manage.host,
    caFile: proxy.caFile ?? '',
    timeLimitSeconds: spec.resources.timeLimit ?? '',
  };
  if (spec.here || scheduler === 'none') return renderScript('none', [], values);
  return renderScript(scheduler, schedulers[scheduler].directives(spec, { log }), values);
}
