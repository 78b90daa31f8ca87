/** `start-jupyter doctor`: checks everything that a launch needs, and says what to do; with `--class` for everybody of a class. */
import { loadFiles } from '../config/files.ts';
import { mergeSystems } from '../config/layers.ts';
import {
  type ClassReport,
  classReport,
  environmentFindings,
  profileFinding,
  sharingFindings,
} from '../doctor/class.ts';
import { classAccounts } from '../doctor/class-accounts.ts';
import { type Configuration, checkConfiguration } from '../doctor/configuration.ts';
import { type Area, count, exitCode, type Finding, fail, skipped } from '../doctor/finding.ts';
import { installationFindings } from '../doctor/installation.ts';
import { jupyterConfigDirectories, jupyterFindings, looseConfigurationFinding } from '../doctor/jupyter.ts';
import {
  bashFindings,
  httpProxyFinding,
  httpToolFinding,
  mountTable,
  nodeVariablesFinding,
  privacyFindings,
  sharedHomeFinding,
  spaceFinding,
  temporaryFinding,
  terminalFinding,
  xdgFinding,
} from '../doctor/machine.ts';
import { preflightFinding } from '../doctor/preflight.ts';
import { proxyFindings } from '../doctor/proxy.ts';
import { accountLines, areaLines, summaryLine } from '../doctor/report.ts';
import { schedulerAnswers, schedulerFindings } from '../doctor/scheduler.ts';
import { sessionFindings } from '../doctor/sessions.ts';
import { directoryProblem } from '../file-system.ts';
import { installationRoot } from '../installation.ts';
import type { LaunchSpec } from '../launch-spec.ts';
import type { OptionValues } from '../options.ts';
import { machineChecks } from '../preflight.ts';
import { sessionsDirectory } from '../sessions/store.ts';
import { homeDirectory } from '../user-directories.ts';

/**
 * @param typed options of the launch that is asked about
 * @param forClass what stands behind `--class`; true where nothing does, undefined without it
 * @throws UsageError for a `forClass` that names nobody
 * @returns 0, or by the first area in which something failed: 3 configuration, 4 proxy, 5 scheduler
 */
export async function run(
  { json, ...typed }: OptionValues,
  forClass: string | true | undefined,
): Promise<number> {
  const areas: Area[] = [];
  const add = (name: string, code: Area['exitCode'], findings: readonly Finding[]) => {
    const area = { name, exitCode: code, findings };
    areas.push(area);
    if (!json) process.stdout.write(`${areaLines(area, process.stdout).join('\n')}\n`);
  };
  const accounts =
    forClass === undefined ? await checkLaunch(typed, add) : await checkClass(typed, forClass, add);
  const code = exitCode(areas);
  if (json) {
    const counts = { failed: count(areas, 'fail'), warnings: count(areas, 'warn') };
    process.stdout.write(
      `${JSON.stringify({ ok: code === 0, ...counts, areas: areas.map(({ name, findings }) => ({ name, findings })), ...(accounts && { accounts }) })}\n`,
    );
  } else {
    const lines = [
      ...accountLines(accounts ?? [], process.stdout),
      summaryLine(areas, forClass === undefined ? 'a launch would not work' : 'a class would be in trouble'),
    ];
    process.stdout.write(`${lines.join('\n')}\n`);
  }
  return code;
}

type Add = (name: string, exitCode: Area['exitCode'], findings: readonly Finding[]) => void;

const refused = [skipped('Not looked at', 'a launch would be refused for its configuration')];

async function checkLaunch(typed: OptionValues, add: Add): Promise<undefined> {
  add('Installation', 3, installationFindings(installationRoot, { forOthers: false }));
  const configuration = await checkConfiguration(typed, { shared: false });
  add('Configuration', 3, configuration.findings);
  add('This machine', 3, await machineFindings(configuration));
  const { resolved, spec } = configuration;
  if (resolved === undefined || spec === undefined) {
    add('Jupyter', 3, refused);
    add('Scheduler', 5, refused);
    add('Proxy', 4, refused);
  } else {
    const loose = looseConfigurationFinding(jupyterConfigDirectories(process.env, homeDirectory()));
    add('Jupyter', 3, [...jupyterFindings(spec, resolved.settings, process.env), loose]);
    if (!spec.here)
      add(
        'Scheduler',
        5,
        directoryProblem(homeDirectory()) === undefined
          ? await schedulerFindings(spec, resolved.settings, { asUser: true })
          : [skipped('Not asked', 'its commands are run in your home directory')],
      );
    add('Proxy', 4, await accessFindings(spec));
  }
  add('Sessions', 3, await sessionFindings());
}

async function machineFindings({ spec, resolved }: Configuration): Promise<Finding[]> {
  const home = homeDirectory();
  const sessions = sessionsDirectory();
  const { env } = process;
  const checks = machineChecks.filter(({ about, title }) => about === 'machine' && title !== 'bash');
  const problem = directoryProblem(home);
  return [
    ...(problem === undefined
      ? [
          ...(spec && resolved
            ? checks.flatMap((check) => preflightFinding(check, spec, resolved.settings) ?? [])
            : []),
          spaceFinding(sessions),
          ...privacyFindings(home, sessions),
          ...(spec?.here ? [] : [sharedHomeFinding(sessions, mountTable())]),
        ]
      : [fail('Home directory', `${home}: ${problem}`, 'Set HOME to your own home directory.')]),
    xdgFinding(env),
    temporaryFinding(env),
    ...(await bashFindings(env)),
    await httpToolFinding(env, { here: spec?.here ?? false }),
    httpProxyFinding(env, { local: spec?.access === 'local' }),
    nodeVariablesFinding(env),
    terminalFinding(env, {
      isTTY: process.stdout.isTTY,
      columns: process.stdout.columns,
      colours: process.stdout.isTTY ? process.stdout.getColorDepth() : 1,
    }),
  ];
}

async function accessFindings({ access, system, via }: LaunchSpec): Promise<Finding[]> {
  if (via !== undefined) return [skipped('Satellite', `is reached when a launch connects to ${via}`)];
  if (access !== 'satellite') return [skipped('Satellite', `none is needed: access ${access}`)];
  if (system.proxy === undefined) return [skipped('Satellite', 'none is known for this system')];
  return await proxyFindings(system.proxy);
}

/** As everybody would launch, without what is this user's own. */
async function checkClass(
  typed: OptionValues,
  who: string | true,
  add: Add,
): Promise<ClassReport['accounts']> {
  const named = who === true ? [] : classAccounts(who);
  add('Installation', 3, installationFindings(installationRoot, { forOthers: true }));
  const { findings, resolved, spec } = await checkConfiguration(typed, { shared: true });
  const shared = await sharingFindings(typed, resolved);
  const systems = mergeSystems(
    await loadFiles(process.env, '/', typed.config, ({ layer }) => layer !== 'user').catch(() => []),
  );
  const profiles = Object.keys(systems.get(resolved?.system.name ?? '')?.profiles ?? {});
  add('Configuration', 3, [...findings, ...shared, ...(resolved ? [profileFinding(typed, profiles)] : [])]);
  let answers = true;
  if (resolved === undefined || spec === undefined) {
    for (const [name, code] of [
      ['Environment', 3],
      ['Scheduler', 5],
      ['Proxy', 4],
    ] as const)
      add(name, code, refused);
  } else {
    add('Environment', 3, [
      ...jupyterFindings(spec, resolved.settings, process.env),
      ...environmentFindings(spec, homeDirectory()),
    ]);
    if (!spec.here) {
      const found = await schedulerFindings(spec, resolved.settings, { asUser: false });
      answers = !found.some(({ title, result }) => title === schedulerAnswers && result !== 'ok');
      add('Scheduler', 5, found);
    }
    add('Proxy', 4, await accessFindings(spec));
  }
  const report = await classReport(named, answers ? spec : undefined);
  add('Class', 5, report.findings);
  return report.accounts;
}
