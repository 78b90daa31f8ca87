import { mkdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { reverseKey } from '../src/access/reverse/key.ts';
import { run as templates } from '../src/commands/templates.ts';
import { makeDirectory } from '../src/file-system.ts';
import { temporaryDirectory } from './support/directories.ts';

afterEach(() => vi.unstubAllEnvs());

describe('a private directory', () => {
  it('is made with what it lies in, and may be there already', () => {
    const top = temporaryDirectory();
    const directory = path.join(top, 'a/b/c');
    makeDirectory(directory);
    makeDirectory(directory);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    expect(statSync(path.join(top, 'a')).mode & 0o777).toBe(0o700);
  });

  it('can not be made below a file', () => {
    const file = path.join(temporaryDirectory(), 'file');
    writeFileSync(file, '');
    expect(() => makeDirectory(path.join(file, 'a/b'))).toThrow('ENOTDIR');
  });

  // Where mkdir(2) says ENOENT though the parent is there, whoever goes on making parents never ends.
  describe('can not be made below /proc', () => {
    const nowhere = '/proc/1/start-jupyter/directory';

    it('as such', () => {
      expect(() => makeDirectory(nowhere)).toThrow('ENOENT');
    });

    it('for templates', async () => {
      const ejected = templates('eject', nowhere, {});
      await expect(ejected).rejects.toThrow(`${nowhere} can't be written: does not exist.`);
    });

    it('for the key of a workstation', async () => {
      vi.stubEnv('XDG_CONFIG_HOME', nowhere);
      await expect(reverseKey()).rejects.toThrow(/reverse_ed25519 can't be made or read: does not exist\.$/);
    });
  });
});

it('templates are not ejected to nowhere', async () => {
  await expect(templates('eject', '', {})).rejects.toThrow('Where to?');
});

it('templates that are ejected into a shared directory have partials that all may read', async () => {
  const shared = temporaryDirectory();
  const before = process.umask(0o022);
  await templates('eject', shared, {}).finally(() => process.umask(before));
  expect(statSync(path.join(shared, 'partials')).mode & 0o777).toBe(0o755);
});

it('a key that can not be made without ssh-keygen says so', async () => {
  const directory = temporaryDirectory();
  mkdirSync(path.join(directory, 'bin'));
  vi.stubEnv('PATH', path.join(directory, 'bin'));
  vi.stubEnv('XDG_CONFIG_HOME', directory);
  await expect(reverseKey()).rejects.toThrow('there is no ssh-keygen');
});
