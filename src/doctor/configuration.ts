/** The configuration files, which system this is and why, and whether what they all say makes a launch. */
import os from 'node:os';
import { type FoundFile, findFiles, type LoadedFile, loadFile, strangersSiteFile } from '../config/files.ts';
import { mergeSystems, type Settings } from '../config/layers.ts';
import { PersonError } from '../errors.ts';
import { type LaunchSpec, launchSpec } from '../launch-spec.ts';
import type { OptionValues } from '../options.ts';
import { type Resolved, resolve } from '../resolve.ts';
import { checkRules, machineFacts, shownSchedulers } from '../systems/detect.ts';
import type { System } from '../systems/system.ts';
import { formatDuration, shown } from '../values.ts';
import { complained, type Finding, ok, skipped, warn } from './finding.ts';
import { openDirectoryAround } from './permissions.ts';

const titles: Readonly<Record<FoundFile['layer'], string>> = {
  'built in': 'Built-in systems',
  site: "Site's file",
  user: 'Your file',
  project: "Project's file",
  named: 'File named here',
};

export interface Configuration {
  readonly findings: readonly Finding[];
  /** Undefined where a launch would be refused for its configuration. */
  readonly resolved: Resolved | undefined;
  /** The launch as far as it can be put together, also where a rule refuses it. */
  readonly spec: LaunchSpec | undefined;
}

/**
 * Looks at each layer by itself, then at what they come to.
 * @param shared leaves out what nobody but this user has: own and project's files, variables
 */
export async function checkConfiguration(
  typed: OptionValues,
  { shared }: { readonly shared: boolean },
): Promise<Configuration> {
  const found = findFiles(process.env, process.cwd(), typed.config).filter(
    ({ layer }) => !shared || (layer !== 'user' && layer !== 'project'),
  );
  const findings: Finding[] = [];
  const files: LoadedFile[] = [];
  for (const file of found) {
    try {
      files.push(await loadFile(file));
      findings.push(fileFinding(file));
    } catch (error) {
      findings.push(complained(titles[file.layer], error));
    }
  }
  const layers = found.map(({ layer }) => layer);
  const unused = strangersSiteFile(process.env);
  if (unused !== undefined)
    findings.push(
      warn(
        titles.site,
        unused,
        'If it is meant for this copy, give it to its owner or root (chown), or name it: START_JUPYTER_SITE_CONFIG.',
      ),
    );
  else if (!layers.includes('site')) findings.push(skipped(titles.site, 'there is none'));
  if (!shared && !layers.includes('user')) findings.push(skipped(titles.user, 'there is none'));
  if (files.length < found.length) return { findings, resolved: undefined, spec: undefined };

  let resolved: Resolved;
  try {
    resolved = await resolve(typed, { offline: false, shared });
  } catch (error) {
    return { findings: [...findings, complained('System', error)], resolved: undefined, spec: undefined };
  }
  findings.push(await systemFinding(resolved, files));
  const { finding, spec } = settingsFinding(resolved.settings, resolved.system);
  return { findings: [...findings, finding], resolved, spec };
}

/** Of a file that a launch takes. */
function fileFinding({ layer, path }: FoundFile): Finding {
  const open = layer === 'site' ? openDirectoryAround(path) : undefined;
  return open === undefined
    ? ok(titles[layer], path)
    : warn(
        titles[layer],
        `${path} can be replaced by everybody, who may write in ${open}`,
        `Close the directory: chmod o-w ${open}`,
      );
}

async function systemFinding({ system, settings }: Resolved, files: readonly LoadedFile[]): Promise<Finding> {
  const title = 'System';
  const name = `${system.name} (${shown(system.title)})`;
  if (settings.system !== undefined) return ok(title, `${name}: ${settings.system.origin} says so`);
  const facts = machineFacts(process.env, { offline: false });
  if (!system.name.startsWith('generic-')) {
    const rules = await checkRules(mergeSystems(files).get(system.name)?.detect, facts);
    const reasons = rules.map(({ rule, seen }) => `${rule} is ${shown(seen ?? '')}`);
    return ok(title, `${name}: ${reasons.join(', ')}`);
  }
  const schedulers = await shownSchedulers(facts);
  if (schedulers.length === 0)
    return ok(title, `no scheduler on ${shown(os.hostname())}, so a launch runs on this machine itself`);
  return warn(
    title,
    `${name}: no known system's rules all match`,
    'Describe it: "start-jupyter systems init" begins a description; "start-jupyter systems" shows the rules.',
  );
}

/** What the settings come to; where a rule refuses them, the record that the other checks can still go by. */
function settingsFinding(
  settings: Settings,
  system: System,
): { readonly finding: Finding; readonly spec: LaunchSpec | undefined } {
  const title = 'Settings';
  try {
    const spec = launchSpec(settings, system, process.cwd());
    return { finding: ok(title, summary(spec)), spec };
  } catch (error) {
    const finding = complained(title, error);
    try {
      const lenient = {
        ...system,
        requireAccount: false,
        proxy: system.proxy ?? { endpoint: 'unknown.invalid' },
      };
      const spec = launchSpec(settings, lenient, process.cwd());
      return { finding, spec: { ...spec, system } };
    } catch (again) {
      if (!(again instanceof PersonError)) throw again;
      return { finding, spec: undefined };
    }
  }
}

function summary({ here, access, resources, service, environment }: LaunchSpec): string {
  const { account, partition, timeLimit, gpu, reservation } = resources;
  const parts = [
    service ?? 'lab or notebook',
    here ? 'on this machine' : 'as a job',
    account && `account ${account}`,
    partition && `partition ${partition}`,
    reservation && `reservation ${reservation}`,
    timeLimit && formatDuration(timeLimit),
    gpu && `GPUs: ${gpu.type === undefined ? '' : `${gpu.type}:`}${gpu.count}`,
    environment.modules.length > 0 && `modules ${environment.modules.join(', ')}`,
    `access ${access}`,
  ];
  return parts.filter(Boolean).join(', ');
}
