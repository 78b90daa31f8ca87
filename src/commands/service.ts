/** `start-jupyter service [options]`: a systemd unit of the user's own for a notebook that stays. */
import path from 'node:path';
import { UsageError } from '../errors.ts';
import { installationRoot, isSelfContained } from '../installation.ts';
import { optionWords } from '../interactive/command-line.ts';
import { launchSpec } from '../launch-spec.ts';
import type { OptionValues } from '../options.ts';
import { resolve } from '../resolve.ts';
import { shown } from '../values.ts';

/**
 * Prints the unit; writes and contacts nothing.
 * @throws UsageError, ConfigurationError for what a launch would refuse
 */
export async function run(typed: OptionValues): Promise<number> {
  const { json, ...rest } = typed;
  const wanted = { ...rest, here: true };
  const { settings, system } = await resolve(wanted, { offline: true });
  const name = settings.keepLink?.value;
  if (name === undefined)
    throw new UsageError(
      'A notebook that stays needs a name, so that its link is the same after a restart.',
      'Add --keep-link NAME.',
    );
  const spec = launchSpec(settings, system, process.cwd());
  const program = isSelfContained ? process.execPath : path.join(installationRoot, 'bin', 'start-jupyter');
  const unit = serviceUnit({
    name,
    command: [program, 'launch', ...optionWords(wanted)],
    workingDirectory: process.cwd(),
    environment: process.env,
    isContained: spec.environment.container !== undefined,
  });
  const file = `~/.config/systemd/user/${unitName(name)}`;
  process.stdout.write(json ? `${JSON.stringify({ name, file, unit })}\n` : unit);
  return 0;
}

function unitName(name: string): string {
  return `start-jupyter-${name}.service`;
}

/** What a launch reads of an environment that a service doesn't have. */
function variables(environment: NodeJS.ProcessEnv): string[] {
  return Object.entries(environment).flatMap(([name, value]) =>
    (name === 'PATH' || /^START_JUPYTER_[A-Z_]+$/.test(name)) && value !== undefined
      ? [`${name}=${value}`]
      : [],
  );
}

export interface ServiceSettings {
  readonly name: string;
  /** Program and arguments. */
  readonly command: readonly string[];
  readonly workingDirectory: string;
  readonly environment: NodeJS.ProcessEnv;
  /** Jupyter comes from an image, which a program with the rights of root may have to start. */
  readonly isContained: boolean;
}

/** @throws UsageError for a directory whose name can't stand in a unit */
export function serviceUnit({
  name,
  command,
  workingDirectory,
  environment,
  isContained,
}: ServiceSettings): string {
  const [program = '', ...words] = command;
  return `# A notebook that stays, made by "start-jupyter service". Save this as
#   ~/.config/systemd/user/${unitName(name)}
# and then type
#   systemctl --user daemon-reload
#   systemctl --user enable --now ${unitName(name)}
#   loginctl enable-linger     # to have it also while you are not logged in, and after a boot
#   start-jupyter url          # its link

[Unit]
Description=Jupyter "${name}" (start-jupyter)
StartLimitIntervalSec=0

[Service]
WorkingDirectory=${directory(workingDirectory)}
${variables(environment)
  .map((each) => `Environment=${word(each)}\n`)
  .join('')}ExecStart=${[word(program), ...words.map(argument)].join(' ')}
# The link is the one secret that it says: "start-jupyter url" has it, the journal must not.
StandardOutput=null
StandardError=journal
Restart=on-failure
RestartSec=15
# What only you can mend: wrong options or configuration, or a server that does not know the key.
RestartPreventExitStatus=2 3
SuccessExitStatus=130
# The launch ends Jupyter and its kernels in order when it is told to.
KillMode=mixed
TimeoutStopSec=60
# A kernel that takes too much memory ends alone.
OOMPolicy=continue
${isContained ? '' : '# Nothing in the notebook gains rights: no sudo, no setuid programs. Take it out where you need one.\nNoNewPrivileges=yes\n'}
[Install]
WantedBy=default.target
`;
}

/** One word in quotes, where "%" begins a specifier: systemd.syntax(7), "Quoting", and systemd.unit(5), "Specifiers". */
function word(text: string): string {
  const escaped = text
    .replace(/[\\"]/g, '\\$&')
    .replaceAll('%', '%%')
    .replace(/[\x00-\x1f\x7f]/g, (control) => `\\x${control.charCodeAt(0).toString(16).padStart(2, '0')}`);
  return `"${escaped}"`;
}

/** An argument of a command, where "$" begins a variable, too: systemd.service(5), "Command lines". */
function argument(text: string): string {
  return word(text).replaceAll('$', '$$$$');
}

/** The whole of a line, without quotes: systemd.exec(5). */
function directory(text: string): string {
  if (/[\x00-\x1f\x7f]|[\\\s]$|^\s/.test(text))
    throw new UsageError(
      `The name of this directory can't stand in a unit: ${shown(text, 200)}.`,
      'Change to another one first (cd), and name files by their whole paths.',
    );
  return text.replaceAll('%', '%%');
}
