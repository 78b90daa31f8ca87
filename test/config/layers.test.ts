import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, lchownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, it, test, vi } from 'vitest';
import { misspeltVariables } from '../../src/config/layers.ts';
import { ConfigurationError, PersonError, UsageError } from '../../src/errors.ts';
import { launchSpec } from '../../src/launch-spec.ts';
import type { OptionValues } from '../../src/options.ts';
import { checkThisMachine } from '../../src/preflight.ts';
import { resolve } from '../../src/resolve.ts';
import { freshHome, temporaryDirectory } from '../support/directories.ts';

/** One person's machine: a home, a site file, a project directory with a directory inside where the work is done. */
interface Place {
  readonly site: string;
  readonly user: string;
  readonly project: string;
  readonly extra: string;
}

let place: Place;

beforeEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  for (const name of Object.keys(process.env).filter((key) => key.startsWith('START_JUPYTER_'))) {
    vi.stubEnv(name, undefined);
  }
  const home = freshHome();
  const projectDirectory = temporaryDirectory();
  const work = path.join(projectDirectory, 'deep', 'inside');
  mkdirSync(work, { recursive: true });
  place = {
    site: path.join(temporaryDirectory(), 'site.yaml'),
    user: path.join(home.path, '.config/start-jupyter/config.yaml'),
    project: path.join(projectDirectory, '.start-jupyter.yaml'),
    extra: path.join(work, 'extra.yaml'),
  };
  write(
    place.site,
    'systems: { test: { title: Test, scheduler: slurm, proxy: { endpoint: sites.test } } }\n',
  );
  vi.stubEnv('HOME', home.path);
  vi.stubEnv('XDG_CONFIG_HOME', undefined);
  vi.stubEnv('START_JUPYTER_SITE_CONFIG', place.site);
  vi.spyOn(process, 'cwd').mockReturnValue(work);
});

function write(file: string, text: string): void {
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, text);
}

const settled = (typed: OptionValues = {}) => resolve({ system: 'test', ...typed }, { offline: true });

/** What a person is told about a configuration. */
async function complaint(typed: OptionValues = {}): Promise<PersonError> {
  const error = await settled(typed).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(PersonError);
  const { message, hint } = error as PersonError;
  expect(`${message}${hint ?? ''}`).not.toMatch(/[\n\r]/);
  return error as PersonError;
}

describe('the layers', () => {
  it('are merged in their order, and each value knows where it comes from', async () => {
    write(
      place.site,
      'partition: site\nsystems: { test: { scheduler: slurm, proxy: { endpoint: sites.test }, defaults: { partition: defaults } } }\n',
    );
    write(place.user, 'partition: user\n');
    write(place.project, 'partition: project\n');
    write(place.extra, 'partition: extra\n');
    vi.stubEnv('START_JUPYTER_PARTITION', 'environment');
    const partition = async (typed: OptionValues = {}) =>
      (await settled({ config: 'extra.yaml', ...typed })).settings.partition;

    expect(await partition({ partition: 'typed' })).toEqual({ value: 'typed', origin: '-p, --partition' });
    expect(await partition()).toEqual({ value: 'environment', origin: 'START_JUPYTER_PARTITION' });
    vi.stubEnv('START_JUPYTER_PARTITION', undefined);
    expect(await partition()).toEqual({ value: 'extra', origin: place.extra });
    write(place.extra, '');
    expect(await partition()).toEqual({ value: 'project', origin: place.project });
    write(place.project, '# nothing yet\n');
    expect(await partition()).toEqual({ value: 'user', origin: place.user });
    write(place.user, '{}\n');
    expect(await partition()).toEqual({ value: 'site', origin: place.site });
    write(
      place.site,
      'systems: { test: { scheduler: slurm, proxy: { endpoint: sites.test }, defaults: { partition: defaults } } }\n',
    );
    expect(await partition()).toEqual({ value: 'defaults', origin: `defaults of test (${place.site})` });
    write(place.site, 'systems: { test: { scheduler: slurm, proxy: { endpoint: sites.test } } }\n');
    expect(await partition()).toBeUndefined();
  });

  it('do not hide each other: every key is merged by itself', async () => {
    write(place.user, 'partition: debug\nmemory: 8\n');
    write(place.project, 'memory: 512M\nmodule: [gcc, python/3.11]\n');
    vi.stubEnv('START_JUPYTER_CPUS', '4');
    const { settings } = await settled({ time: 60 });
    expect(
      Object.fromEntries(Object.entries(settings).map(([key, setting]) => [key, setting?.value])),
    ).toEqual({
      dir: '~',
      system: 'test',
      partition: 'debug',
      memory: 512,
      module: ['gcc', 'python/3.11'],
      cpus: 4,
      time: 60,
    });
  });

  it('begin with what holds where nobody says anything: 30 minutes, in the home directory', async () => {
    const { settings } = await settled();
    expect(settings.time).toEqual({ value: 1800, origin: 'built in' });
    expect(settings.dir).toEqual({ value: '~', origin: 'built in' });
    write(place.user, 'time: 2h\n');
    expect((await settled()).settings.time).toEqual({ value: 7200, origin: place.user });
  });

  it('let a false or an earlier true be overridden', async () => {
    write(place.user, 'quiet: true\n');
    expect((await settled()).settings.quiet?.value).toBe(true);
    write(place.project, 'quiet: false\n');
    expect((await settled()).settings.quiet?.value).toBe(false);
    vi.stubEnv('START_JUPYTER_QUIET', '1');
    expect((await settled()).settings.quiet?.value).toBe(true);
  });

  it.each([
    ['on', true],
    ['yes', true],
    ['"1"', true],
    ['1', true],
    ['True', true],
    ['off', false],
    ['NO', false],
    ['0', false],
  ])('take %s for a switch in files and variables alike', async (word, value) => {
    write(place.user, `yes: ${word}\nnv: ${word}\n`);
    vi.stubEnv('START_JUPYTER_QR', word.replaceAll('"', ''));
    const { settings } = await settled();
    expect([settings.yes?.value, settings.nv?.value, settings.qr?.value]).toEqual([value, value, value]);
  });

  it("let a site's wait be undone", async () => {
    write(place.site, 'wait: true\nsystems: { test: { scheduler: none } }\n');
    const wait = async () => (await settled()).settings.wait?.value;
    expect(await wait()).toBe(true);
    write(place.user, 'wait: false\n');
    expect(await wait()).toBe(false);
    vi.stubEnv('START_JUPYTER_WAIT', 'yes');
    expect(await wait()).toBe(true);
    vi.stubEnv('START_JUPYTER_WAIT', 'false');
    expect(await wait()).toBe(false);
    vi.stubEnv('START_JUPYTER_WAIT', '1');
    expect(await wait()).toBe(60);
  });

  it('take an empty variable for one that is not set', async () => {
    write(place.user, 'partition: debug\n');
    vi.stubEnv('START_JUPYTER_PARTITION', '');
    expect((await settled()).settings.partition?.value).toBe('debug');
  });

  it.each(['007', '0042', '1e3', '0x10', '12345678901234567890', '1.10'])(
    'leave an account called %s what it is, quoted or not',
    async (name) => {
      for (const written of [name, `"${name}"`]) {
        write(place.user, `account: ${written}\ncpus: 12\n`);
        const { settings } = await settled();
        expect(settings.account?.value).toBe(name);
        expect(settings.cpus?.value).toBe(12);
      }
    },
  );

  it('find a project file upwards, the nearest one only', async () => {
    write(place.project, 'partition: far\nmemory: 8\n');
    const near = path.join(path.dirname(place.project), 'deep', '.start-jupyter.json');
    write(near, '{ "partition": "near" }');
    const { settings } = await settled();
    expect(settings.partition).toEqual({ value: 'near', origin: near });
    expect(settings.memory).toBeUndefined();
  });

  it("follow XDG_CONFIG_HOME to the user's file", async () => {
    const elsewhere = temporaryDirectory();
    write(path.join(elsewhere, 'start-jupyter/config.yaml'), 'partition: elsewhere\n');
    write(place.user, 'partition: user\n');
    vi.stubEnv('XDG_CONFIG_HOME', elsewhere);
    expect((await settled()).settings.partition?.value).toBe('elsewhere');
  });

  it('merge a system that several files speak of', async () => {
    write(
      place.site,
      'systems: { test: { title: Site, scheduler: slurm, proxy: { endpoint: sites.test }, defaults: { partition: debug, memory: 8 }, partitions: { debug: { maxTime: 30m }, gpu: { maxGpus: 2 } } } }\n',
    );
    write(
      place.user,
      'systems: { test: { title: Mine, defaults: { partition: gpu }, partitions: { debug: { maxTime: 1h } } } }\n',
    );
    const { system, settings } = await settled();
    expect(system).toMatchObject({
      title: 'Mine',
      scheduler: 'slurm',
      partitions: { debug: { maxTime: 3600 }, gpu: { maxGpus: 2 } },
    });
    expect(settings.partition?.value).toBe('gpu');
    expect(settings.memory?.value).toBe(8192);
  });
});

describe('a profile', () => {
  beforeEach(() => {
    write(
      place.site,
      'systems: { test: { scheduler: slurm, proxy: { endpoint: sites.test }, defaults: { partition: defaults }, profiles: { school: { reservation: si26, gpu: 1, time: 2h, partition: gpu } } } }\n',
    );
  });

  it('goes before files and defaults; what is typed goes before it', async () => {
    write(place.user, 'partition: user\nmemory: 8\n');
    const { settings } = await settled({ profile: 'school', time: 600 });
    expect(settings.partition).toEqual({ value: 'gpu', origin: 'profile school' });
    expect(settings.reservation).toEqual({ value: 'si26', origin: 'profile school' });
    expect(settings.time).toEqual({ value: 600, origin: '-t, --time' });
    expect(settings.memory?.value).toBe(8192);
    expect((await settled()).settings.reservation).toBeUndefined();
  });

  it('may be a setting, and be added to by another file', async () => {
    write(place.user, 'profile: mine\nsystems: { test: { profiles: { mine: { memory: 8 } } } }\n');
    expect((await settled()).settings.memory?.origin).toBe('profile mine');
    expect((await settled({ profile: 'school' })).settings.gpu?.value).toEqual({ count: 1 });
  });

  it('that is not there is refused with the nearest', async () => {
    const error = await complaint({ profile: 'scholl' });
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toContain('Did you mean "school"?');
    expect(await complaint({ profile: 'toString' })).toBeInstanceOf(UsageError);
    write(place.user, 'profile: nothing\n');
    expect(await complaint()).toBeInstanceOf(ConfigurationError);
  });

  it('holds settings only', async () => {
    write(place.user, 'systems: { test: { profiles: { mine: { tim: 5 } } } }\n');
    expect((await complaint()).message).toContain('Did you mean "time"?');
  });
});

describe('a configuration file', () => {
  test.each([
    ['partiton: debug', '"partiton"', 'partition'],
    ['Time: 30', '"Time"', 'time'],
    ['modul: gcc', '"modul"', 'module'],
    ['systms: {}', '"systms"', 'systems'],
    ['systems: { test: { schduler: slurm } }', '"systems.test.schduler"', 'scheduler'],
    [
      'systems: { test: { proxy: { endpoint: a.test, cafile: x } } }',
      '"systems.test.proxy.cafile"',
      'caFile',
    ],
    ['systems: { test: { detect: { hostnam: x } } }', '"systems.test.detect.hostnam"', 'hostname'],
    ['systems: { test: { defaults: { tim: 30 } } }', '"systems.test.defaults.tim"', 'time'],
    // Not that it is missing.
    ['systems: { test: { proxy: { endpont: x } } }', '"systems.test.proxy.endpont"', 'endpoint'],
    [
      'systems: { test: { partitions: { debug: { maxtime: 30 } } } }',
      '"systems.test.partitions.debug.maxtime"',
      'maxTime',
    ],
  ])('with %s is told the nearest key', async (text, key, near) => {
    write(place.user, text);
    const error = await complaint();
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toContain(place.user);
    expect(error.message).toContain(key);
    expect(error.message).toContain(`Did you mean "${near}"?`);
  });

  test.each(['defaults: { profile: gpu }', 'profiles: { a: { system: expanse } }'])(
    'chooses nothing inside of a system: %s',
    async (text) => {
      write(place.user, `systems: { test: { ${text} } }\n`);
      expect((await complaint()).message).toMatch(/"systems\.test\..*" is not a setting/);
    },
  );

  test.each([
    ['a tab for indentation', 'systems:\n\ttest: {}\n', /tab.* \(2:1\)/],
    ['an open brace', 'systems: { test: {\n', /\(\d+:\d+\)/],
    ['an open quote', 'partition: "debug\n', /\(\d+:\d+\)/],
    ['a key twice', 'partition: a\npartition: b\n', /duplicated .* \(2:1\)/],
    ['an unknown tag', 'partition: !!js/function "function () {}"\n', /unknown .*tag/i],
    ['two documents', 'partition: a\n---\npartition: b\n', /single document/],
    ['a list', '- partition\n', /must be a mapping/],
    ['a text', 'partition\n', /must be a mapping/],
    ['a number', '5\n', /must be a mapping/],
  ])('of %s is refused in one line that says what is wrong', async (_, text, says) => {
    write(place.user, text);
    const error = await complaint();
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toContain(place.user);
    expect(error.message).toMatch(says);
  });

  it('may be JSON', async () => {
    write(place.user.replace('.yaml', '.json'), '{ "partition": "debug" }');
    expect((await settled()).settings.partition?.value).toBe('debug');
  });

  it('may be empty', async () => {
    write(place.user, '');
    expect((await settled()).settings.partition).toBeUndefined();
  });

  it.each(['config.js', 'config.cjs', 'config.mjs', 'config.ts', 'config.toml', 'config'])(
    'called %s is never executed',
    async (name) => {
      const marker = path.join(temporaryDirectory(), 'ran');
      const file = path.join(path.dirname(place.extra), name);
      write(file, `require('node:fs').writeFileSync(${JSON.stringify(marker)}, ''); module.exports = {};`);
      const error = await complaint({ config: file });
      expect(error).toBeInstanceOf(ConfigurationError);
      expect(error.message).toContain(file);
      expect(existsSync(marker)).toBe(false);
    },
  );

  it.each([
    ['missing', () => path.join(path.dirname(place.extra), 'nothing.yaml')],
    ['a directory', () => path.dirname(place.extra)],
  ])('that is %s is refused where it was named', async (_, file) => {
    expect(await complaint({ config: file() })).toBeInstanceOf(ConfigurationError);
    vi.stubEnv('START_JUPYTER_SITE_CONFIG', file());
    expect(await complaint()).toBeInstanceOf(ConfigurationError);
  });

  it('that is a directory, or a link that leads to itself, is called that', async () => {
    expect((await complaint({ config: path.dirname(place.extra) })).message).toContain('it is a directory');
    const link = path.join(path.dirname(place.extra), 'link.yaml');
    symlinkSync(link, link);
    expect((await complaint({ config: link })).message).toContain('symbolic links go in a circle');
  });

  it('of a project may not hold systems: who can write to a directory must not say which proxy is trusted', async () => {
    write(place.project, 'systems: { test: { proxy: { endpoint: evil.test } } }\n');
    const error = await complaint();
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toContain('systems');
  });

  it.each([
    ['a pipe that nobody writes to', (file: string) => execFileSync('mkfifo', [file]), /not a regular file/],
    ['a directory', (file: string) => mkdirSync(file), /is a directory/],
  ])('that is %s is refused at once', async (_, make, says) => {
    mkdirSync(path.dirname(place.user), { recursive: true });
    for (const file of [place.project, place.user]) {
      make(file);
      const error = await complaint();
      expect(error).toBeInstanceOf(ConfigurationError);
      expect(error.message).toMatch(says);
      expect(error.message).toContain(file);
    }
  });

  it.each(['site', 'user'] as const)(
    'of a %s that everybody can write is refused; a group may',
    async (whose) => {
      const file = place[whose];
      write(file, 'partition: mine\nsystems: { test: { scheduler: slurm } }\n');
      chmodSync(file, 0o646);
      const error = await complaint();
      expect(error).toBeInstanceOf(ConfigurationError);
      expect(error.message).toContain(`${file} can be written by everybody`);
      expect(error.hint).toContain(`chmod o-w ${file}`);
      chmodSync(file, 0o664);
      expect((await settled()).settings.partition?.value).toBe('mine');
    },
  );

  it('that everybody can write is taken where it is named', async () => {
    write(place.extra, 'partition: named\n');
    chmodSync(place.extra, 0o666);
    expect((await settled({ config: place.extra })).settings.partition?.value).toBe('named');
  });

  it('of a project that others can write is refused: who can write to it must not say what runs in the job', async () => {
    write(place.project, 'partition: mine\n');
    chmodSync(place.project, 0o666);
    const error = await complaint();
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toContain('other users');
    expect(error.hint).toContain(`chmod go-w ${place.project}`);
    chmodSync(place.project, 0o600);
    expect((await settled()).settings.partition?.value).toBe('mine');
  });

  it.runIf(process.getuid?.() === 0)('of a project may be open to the group of its owner alone', async () => {
    write(place.project, 'partition: mine\n');
    chmodSync(place.project, 0o664);
    expect((await settled()).settings.partition?.value).toBe('mine');
    chownSync(place.project, 0, 12_345);
    expect((await complaint()).message).toContain('other users');
  });

  it.runIf(process.getuid?.() === 0)('of a project that is a link is judged by both its ends', async () => {
    const theirs = path.join(temporaryDirectory(), 'theirs.yaml');
    write(theirs, 'partition: theirs\n');
    chownSync(theirs, 12_345, 12_345);
    symlinkSync(theirs, place.project);
    expect((await complaint()).message).toContain('another user');
    chownSync(theirs, 0, 0);
    expect((await settled()).settings.partition?.value).toBe('theirs');
    lchownSync(place.project, 12_345, 12_345);
    expect((await complaint()).message).toContain('another user');
  });

  it.runIf(process.getuid?.() === 0)(
    "of a project that is another user's is refused until it is named",
    async () => {
      write(place.project, 'partition: theirs\n');
      chownSync(place.project, 12_345, 12_345);
      const error = await complaint();
      expect(error).toBeInstanceOf(ConfigurationError);
      expect(error.message).toContain('another user');
      expect(error.hint).toContain('--config');
    },
  );
});

describe('a value in a file', () => {
  test.each([
    ['time: 0', 'time'],
    ['time: -5', 'time'],
    ['time: banana', 'time'],
    ['time: [30]', 'time'],
    ['memory: lots', 'memory'],
    ['memory: { size: 8 }', 'memory'],
    ['gpu: banana', 'gpu'],
    ['gpu: true', 'gpu'],
    ['nodes: 1.5', 'nodes'],
    ['cpus: -1', 'cpus'],
    ['account: "a b"', 'account'],
    ['partition: "$(id)"', 'partition'],
    ['module: [gcc, "a;b"]', 'module'],
    ['module: { gcc: 12 }', 'module'],
    ['service: emacs', 'service'],
    ['service: constructor', 'service'],
    ['access: telepathy', 'access'],
    ['access: toString', 'access'],
    ['quiet: maybe', 'quiet'],
    ['quiet: 5', 'quiet'],
    ['wait: never', 'wait'],
    ['dir: ""', 'dir'],
    ['systems: { test: { scheduler: cron } }', 'systems.test.scheduler'],
    ['systems: { test: { detect: { hostname: "(" } } }', 'systems.test.detect.hostname'],
    ['systems: { test: { proxy: { endpoint: "https://a.test" } } }', 'systems.test.proxy.endpoint'],
    ['systems: { test: { proxy: { endpoint: "a.test/x" } } }', 'systems.test.proxy.endpoint'],
    ['systems: { test: { proxy: { endpoint: "a.test:99999" } } }', 'systems.test.proxy.endpoint'],
    ['systems: { test: { proxy: { endpoint: "a.test:0" } } }', 'systems.test.proxy.endpoint'],
    ['systems: { test: { ssh: { login: "a.test:70000" } } }', 'systems.test.ssh.login'],
    ['systems: { test: { ssh: { jump: "a.test:22,b@b.test:70000" } } }', 'systems.test.ssh.jump'],
    ['systems: { "a b": { scheduler: slurm } }', 'systems.a b'],
    ['systems: { "": { scheduler: slurm } }', 'systems.'],
    ['systems: { "../x": {} }', 'systems.../x'],
    ['systems: { test: { proxy: {} } }', 'systems.test.proxy.endpoint'],
    ['systems: { test: { nodeAddress: "$(hostname)" } }', 'systems.test.nodeAddress'],
    ['systems: { test: { nodeAddress: "{hostname -i}" } }', 'systems.test.nodeAddress'],
    ['systems: { test: { gpuDirective: both } }', 'systems.test.gpuDirective'],
    ['systems: { test: { requireAccount: 1 } }', 'systems.test.requireAccount'],
    [
      'systems: { test: { partitions: { debug: { maxTime: soon } } } }',
      'systems.test.partitions.debug.maxTime',
    ],
    ['systems: { test: { partitions: { debug: { maxGpus: 0 } } } }', 'systems.test.partitions.debug.maxGpus'],
    ['systems: { test: { defaults: { time: soon } } }', 'systems.test.defaults.time'],
    ['systems: []', 'systems'],
  ])('%s is refused with its file and key', async (text, key) => {
    write(place.user, text);
    const error = await complaint();
    expect(error).toBeInstanceOf(ConfigurationError);
    expect(error.message).toContain(`${place.user}: ${key}: `);
    expect(error.message).not.toContain('undefined');
    expect(error.message).not.toMatch(/Invalid/);
  });

  test.each([
    ['__proto__: { partition: debug }', '__proto__'],
    ['systems: { "__proto__": { scheduler: slurm } }', 'systems.__proto__'],
    [
      'systems: { test: { partitions: { "__proto__": { maxTime: 1h } } } }',
      'systems.test.partitions.__proto__',
    ],
  ])('%s, which names nothing, is refused', async (text, key) => {
    write(place.user, text);
    expect((await complaint()).message).toBe(`${place.user}: "${key}" is not a setting.`);
  });

  test.each([
    ['time: null', 'time'],
    ['partition:', 'partition'],
    ['gpu: ~', 'gpu'],
    ['here:', 'here'],
    ['module:', 'module'],
    ['systems: { test: { defaults: { time: } } }', 'systems.test.defaults.time'],
    ['systems: { test: { title: } }', 'systems.test.title'],
  ])('%s is told to be empty', async (text, key) => {
    write(place.user, text);
    expect((await complaint()).message).toMatch(
      `${place.user}: ${key}: is empty; give it a value, or leave the key out`,
    );
  });

  it('the file whose defaults ask for more than their partition allows is named', async () => {
    write(
      place.user,
      'systems: { test: { defaults: { time: 3h, partition: debug }, partitions: { debug: { maxTime: 30m } } } }',
    );
    const { settings, system } = await settled();
    const refused = () => launchSpec(settings, system, '/');
    expect(refused).toThrow(ConfigurationError);
    expect(refused).toThrow(`defaults of test (${place.user}): partition: "debug" allows 30m at most`);
  });

  test.each(['info: true', 'json: true', 'dryRun: true', 'config: x.yaml', 'lab: true', 'notebook: true'])(
    '%s is for the command line only',
    async (text) => {
      write(place.user, text);
      expect((await complaint()).message).toContain('is not a setting');
    },
  );
});

test.each([
  ['START_JUPYTER_TIME', 'banana'],
  ['START_JUPYTER_GPU', '0'],
  ['START_JUPYTER_QUIET', 'maybe'],
  ['START_JUPYTER_MODULE', 'a;b'],
  ['START_JUPYTER_SERVICE', 'emacs'],
  ['START_JUPYTER_WAIT', 'never'],
])('the variable %s=%s is refused by its name', async (name, value) => {
  vi.stubEnv(name, value);
  const error = await complaint();
  expect(error.message).toMatch(new RegExp(`^${name}: `));
});

it('names variables that are misspelt, and no others', () => {
  const environment = {
    START_JUPYTER_PARTITON: 'debug',
    START_JUPYTER_FLAVOUR: 'x',
    START_JUPYTER_PARTITION: 'debug',
    START_JUPYTER_SITE_CONFIG: place.site,
    PATH: '/bin',
  };
  expect(misspeltVariables(environment)).toEqual([
    { name: 'START_JUPYTER_PARTITON', meant: 'START_JUPYTER_PARTITION' },
  ]);
});

describe('what was typed', () => {
  const cases: [string, OptionValues][] = [
    ['--lab with --notebook', { lab: true, notebook: true }],
    ['--lab with --service notebook', { lab: true, service: 'notebook' }],
    ['--notebook with --service lab', { notebook: true, service: 'lab' }],
    ['--quiet with --json', { quiet: true, json: true }],
    ['--quiet with --info', { quiet: true, info: true }],
    ['--json with --dry-run', { json: true, dryRun: true }],
    ['--info with --dry-run', { info: true, dryRun: true }],
    ['--wait with --dry-run', { wait: true, dryRun: true }],
    ['--wait with --info', { wait: true, info: true }],
  ];
  it.each(cases)('is refused as %s', async (_, typed) => {
    const error = await complaint(typed);
    expect(error).toBeInstanceOf(UsageError);
    expect(error.message).toContain('contradict');
  });

  it('may say the same thing twice', async () => {
    expect((await settled({ lab: true, service: 'lab' })).settings.service?.value).toBe('lab');
  });

  it("wins over a file's opposite", async () => {
    write(place.user, 'service: notebook\n');
    expect((await settled({ lab: true })).settings.service).toEqual({
      value: 'lab',
      origin: '-s, --service',
    });
  });
});

it.each(['/nowhere', '/dev/null'])('says of a home called %s that HOME is to be mended', async (home) => {
  vi.stubEnv('HOME', home);
  const { settings, system } = await settled();
  const spec = launchSpec(settings, system, process.cwd());
  expect(() => checkThisMachine(spec, settings)).toThrow(
    expect.objectContaining({
      message: expect.stringContaining(home),
      hint: expect.stringContaining('Set HOME'),
    }),
  );
});

it('takes relative paths from the working directory and ~ from home', async () => {
  const { settings, system } = await settled({ dir: 'notebooks', venv: '~/venv' });
  const spec = launchSpec(settings, system, process.cwd());
  expect(spec.directory).toBe(path.join(process.cwd(), 'notebooks'));
  expect(spec.environment.venv).toBe(path.join(process.env.HOME ?? '', 'venv'));
});

it('says of a home directory whose name is not UTF-8 that it is not, rather than that it does not exist', async () => {
  // What Node.js makes of other bytes.
  vi.stubEnv('HOME', path.join(temporaryDirectory(), 'h\ufffd'));
  const { settings, system } = await settled({ partition: 'debug' });
  const spec = launchSpec(settings, system, process.cwd());
  expect(() => checkThisMachine(spec, settings)).toThrow(
    expect.objectContaining({
      exitCode: 3,
      message: expect.stringContaining('its name is not UTF-8'),
      hint: expect.stringContaining('Set HOME'),
    }),
  );
});
