/** The systemd unit of a notebook that stays: systemd takes it, and reads back the very words. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { type ServiceSettings, serviceUnit } from '../../src/commands/service.ts';
import { testWith } from '../support/command.ts';
import { temporaryDirectory } from '../support/directories.ts';

const { run: testWithSystemd, note } = testWith('systemd-analyze');

const hostile = [
  '100% of $HOME $x',
  'a "b" \\ \'c\'',
  'line\nbreak\ttab',
  '; /bin/sh',
  '%h%%',
  '-+!@:',
  'ü€',
];

const unitOf = (more: Partial<ServiceSettings> = {}) =>
  serviceUnit({
    name: 'desk',
    command: ['/bin/true', 'launch', ...hostile.map((text) => `--env=A=${text}`)],
    workingDirectory: '/tmp',
    environment: { PATH: '/usr/bin:/odd % "place"', START_JUPYTER_ACCESS: 'reverse', SECRET: 'not here' },
    isContained: false,
    ...more,
  });

describe(`the unit${note}`, () => {
  testWithSystemd('is one by systemd’s own rules, whatever the options hold', () => {
    const place = temporaryDirectory();
    mkdirSync(path.join(place, 'run'), { mode: 0o700 });
    const verify = (unit: string) => {
      const file = path.join(place, 'start-jupyter-desk.service');
      writeFileSync(file, unit);
      const env = { PATH: '/usr/bin:/bin', HOME: place, XDG_RUNTIME_DIR: path.join(place, 'run') };
      // What it complains about it says on stderr, and with a status from version 250 on.
      return execFileSync('sh', ['-c', 'systemd-analyze verify --user --man=no "$0" 2>&1', file], {
        env,
        encoding: 'utf8',
      });
    };
    expect(verify(unitOf())).toBe('');
    expect(() => verify(unitOf({ command: ['/no/such/program'] }))).toThrow();
    expect(verify(unitOf().replace('KillMode=mixed', 'KillMode=nonsense'))).toContain('kill mode');
  });

  it('writes each word so that systemd reads the same', () => {
    const line = /^ExecStart=(.*)$/m.exec(unitOf())?.[1] ?? '';
    // systemd.syntax(7), "Quoting"; systemd.unit(5), "Specifiers"; systemd.service(5), "Command lines".
    const words = [...line.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, quoted = '']) =>
      quoted
        .replace(/\\(?:x([0-9a-f]{2})|(.))/g, (_, code, character) =>
          code === undefined ? character : String.fromCharCode(Number.parseInt(code, 16)),
        )
        .replaceAll('%%', '%')
        .replaceAll('$$', '$'),
    );
    expect(words).toEqual(['/bin/true', 'launch', ...hostile.map((text) => `--env=A=${text}`)]);
    expect(line.replaceAll('%%', '').replaceAll('$$', '')).not.toMatch(/[%$]/);
  });

  it('has what a launch reads of the environment, and nothing else of it', () => {
    expect(unitOf().match(/^Environment=.*$/gm)).toEqual([
      'Environment="PATH=/usr/bin:/odd %% \\"place\\""',
      'Environment="START_JUPYTER_ACCESS=reverse"',
    ]);
  });

  it('lets an image be started by a program with more rights', () => {
    expect(unitOf()).toContain('NoNewPrivileges=yes');
    expect(unitOf({ isContained: true })).not.toContain('NoNewPrivileges');
  });

  it('refuses a directory that no unit could name', () => {
    for (const workingDirectory of ['/tmp/a\nb', '/tmp/end\\', '/tmp/end '])
      expect(() => unitOf({ workingDirectory })).toThrow('can’t stand in a unit'.replace('’', "'"));
  });
});
