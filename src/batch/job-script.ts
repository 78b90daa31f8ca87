/**
 * The job script of one launch.
 * @throws UsageError, ConfigurationError where the user's own template can't be used
 */
import path from 'node:path';
import type { SatelliteAddress } from '../access/satellite.ts';
import { endsOnLoopback, loginHost } from '../access/ssh.ts';
import { ConfigurationError, UsageError } from '../errors.ts';
import { fileProblem } from '../file-system.ts';
import type { LaunchSpec } from '../launch-spec.ts';
import { flagOf } from '../options.ts';
import { schedulers } from '../schedulers/registry.ts';
import { sessionFiles } from '../sessions/store.ts';
import { userDirectory } from '../user-directories.ts';
import { shown } from '../values.ts';
import { renderOwnTemplate, renderScript, TemplateError, type TemplateValue } from './render.ts';

type TemplateArguments = [directives: readonly string[], values: Readonly<Record<string, TemplateValue>>];

export function jobScript(
  spec: LaunchSpec,
  sessionId: string,
  proxy: SatelliteAddress | undefined,
  kept?: 'new' | 'open',
): string {
  const { directory, log } = sessionFiles(sessionId);
  const { scheduler, nodeAddress } = spec.system;
  const { conda, container } = spec.environment;
  const manage = proxy && new URL(proxy.manageUrl);
  const values = {
    sessionId,
    sessionDirectory: directory,
    service: spec.service ?? '',
    startDirectory: spec.directory,
    modules: spec.environment.modules,
    modulePath: spec.environment.modulePath,
    venv: spec.environment.venv ?? '',
    condaEnv: conda?.env ?? '',
    condaInit: conda?.init ?? '',
    condaYml: conda?.yml ?? '',
    condaProgram: conda?.program ?? '',
    condaCache: conda?.cache ? path.join(userDirectory('XDG_CACHE_HOME'), 'conda') : '',
    image: container?.image ?? '',
    binds: container?.binds ?? [],
    containerFlags: container?.flags ?? [],
    variables: spec.environment.variables,
    setupFile: spec.environment.setup ?? '',
    scratchDirectory: spec.environment.scratchDirectory ?? '',
    idleTimeoutSeconds: spec.idleTimeout ?? '',
    nodeAddress:
      spec.access === 'local' || spec.access === 'reverse' || endsOnLoopback(spec)
        ? '127.0.0.1'
        : (nodeAddress ?? ''),
    loginHost: loginHost(),
    // Where names of sites lead to one known address, curl and wget are sent there with the name in the Host header.
    manageUrl:
      manage === undefined || proxy?.connectTo === undefined
        ? (manage?.origin ?? '')
        : `${manage.protocol}//${proxy.connectTo}:${manage.port}`,
    manageHost: manage?.host ?? '',
    caFile: proxy?.caFile ?? '',
    manageSocket: proxy?.socket ?? '',
    sitePort: proxy?.sitePort ?? '',
    jupyterPort: proxy?.jupyterPort ?? '',
    keptLink: kept ?? '',
    timeLimitSeconds: spec.resources.timeLimit ?? '',
  };
  const here = spec.here || scheduler === 'none';
  const directives =
    here || spec.template?.ownDirectives ? [] : schedulers[scheduler].directives(spec, { log });
  if (spec.template !== undefined) return ownScript(spec.template, directives, values);
  return renderScript(here ? 'none' : scheduler, directives, values);
}

function ownScript(
  { file, origin }: NonNullable<LaunchSpec['template']>,
  ...rest: TemplateArguments
): string {
  try {
    return renderOwnTemplate(file, ...rest);
  } catch (error) {
    const problem = error instanceof TemplateError ? error.message : fileProblem(file);
    if (problem === undefined) throw error;
    const message = `${shown(file, 200)}: ${shown(problem, 200)}.`;
    const hint = 'Start from a copy of the built-in ones: start-jupyter templates eject DIR';
    throw origin === flagOf('batchScript')
      ? new UsageError(`${origin}: ${message}`, hint)
      : new ConfigurationError(`${origin}: batchScript: ${message}`, hint);
  }
}
