import { Option } from 'commander';
import {
  ConfigError,
  configSchema,
  haproxySchema,
  limitsSchema,
  parseConfig,
  type SatelliteConfig,
  type SatelliteConfigInput,
} from './config.ts';
import { isPasswordIn, namingFile, readConfigFile } from './config-file.ts';

const kebab = (key: string): string => key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

const lists: ReadonlySet<string> = new Set([
  'internalNetworks',
  'jobStateNetworks',
  'trustedProxies',
  'proxyProtocol',
]);

/** Keys whose own keys are options: `--limits-header-time`. */
const groups = { limits: limitsSchema, haproxy: haproxySchema };

function isGroup(key: string): key is keyof typeof groups {
  return Object.hasOwn(groups, key);
}

const forFiles: ReadonlySet<string> = new Set(['auth', 'routes', 'directHosts']);

/** Every key of the configuration as an option. */
export function configOptions(): Option[] {
  return Object.entries(configSchema.shape).flatMap(([key, schema]) => {
    const text = schema.description ?? '';
    // They have a structure that no option has.
    if (forFiles.has(key)) return [];
    if (isGroup(key)) {
      return Object.entries(groups[key].shape).map(
        ([name, { description = '' }]) => new Option(`--${key}-${kebab(name)} <value>`, description),
      );
    }
    if (key === 'tls') {
      return [
        new Option('--tls <how>', 'off behind a front that does TLS, selfSigned to try it out').choices([
          'off',
          'selfSigned',
        ]),
        new Option('--tls-cert <file>', 'certificate chain (PEM)'),
        new Option('--tls-key <file>', 'its private key (PEM)'),
      ];
    }
    // --help is what it is everywhere.
    if (key === 'help') return [new Option('--help-link <value>', text)];
    if (!lists.has(key)) return [new Option(`--${kebab(key)} <value>`, text)];
    return [
      new Option(`--${kebab(key)} <cidr,...>`, text).argParser((value) =>
        value
          .split(',')
          .map((part) => part.trim())
          .filter(Boolean),
      ),
    ];
  });
}

/**
 * What the command line says over what its configuration file says, checked. Throws a ConfigError, which names the file where
 * no option has a word in what is wrong.
 */
export function configOf({ config: file, ...given }: Record<string, unknown>): SatelliteConfig {
  if (typeof file !== 'string') return parseConfig(layered(given, {}));
  const fromFile = readConfigFile(file);
  const layers = layered(given, fromFile);
  // `--tls-cert` arrives as `tlsCert`.
  const isOption = (key: string): boolean => Object.keys(given).some((option) => option.startsWith(key));
  return namingFile(
    file,
    (key) => Object.hasOwn(fromFile, key) && !isOption(key),
    () => parseConfig(layers),
  );
}

function layered(
  { tls, tlsCert, tlsKey, helpLink, ...rest }: Record<string, unknown>,
  fromFile: Record<string, unknown>,
): SatelliteConfigInput {
  const options = splitGroups(rest, fromFile);
  if (isPasswordIn(options.state))
    throw new ConfigError(
      '--state: everybody on this host can read a password here; put it into the configuration file, or a passfile',
    );
  return {
    ...fromFile,
    ...options,
    ...(helpLink !== undefined && { help: helpLink }),
    ...(tls !== undefined && { tls: tls === 'selfSigned' ? { selfSigned: true } : tls }),
    ...(tlsCert || tlsKey ? { tls: { cert: tlsCert, key: tlsKey } } : {}),
  } as SatelliteConfigInput;
}

/** `--limits-header-time` arrives as `limitsHeaderTime`, and belongs under `limits`; what the file says there stays. */
function splitGroups(given: Record<string, unknown>, fromFile: Record<string, unknown>) {
  const options: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(given)) {
    const [, group, first, more] = /^(limits|haproxy)(.)(.*)$/.exec(key) ?? [];
    if (group === undefined || first === undefined) options[key] = value;
    else {
      const before = (options[group] ?? fromFile[group]) as object | undefined;
      options[group] = { ...before, [`${first.toLowerCase()}${more}`]: value };
    }
  }
  return options;
}
