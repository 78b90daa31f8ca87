import { appendFileSync, chmodSync, chownSync, cpSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { addToAccount } from './accounting.ts';
import { labPath } from './paths.ts';

/**
 * Adds users to a lab that is up, each with a home that everybody may look into, as many sites have it, and lets them charge
 * an account. Those who exist already stay as they are; all of them go with the lab.
 */
export async function addUsers(names: readonly string[], account: string): Promise<void> {
  const passwd = readFileSync(labPath('etc/passwd'), 'utf8').trim().split('\n');
  const known = new Set(passwd.map((line) => line.split(':')[0]));
  const firstFree =
    Math.max(...passwd.map((line) => Number(line.split(':')[2])).filter((uid) => uid < 60_000)) + 1;
  const newcomers = names.filter((name) => !known.has(name));
  if (newcomers.length === 0) return;
  const people = newcomers.map((name, index) => ({ name, id: firstFree + index }));
  const append = (file: string, line: (person: { name: string; id: number }) => string): void =>
    appendFileSync(labPath(file), people.map((person) => `${line(person)}\n`).join(''));
  append('etc/group', ({ name, id }) => `${name}:x:${id}:`);
  append('etc/shadow', ({ name }) => `${name}:*:19000:0:99999:7:::`);
  append('etc/passwd', ({ name, id }) => `${name}:x:${id}:${id}:${name}:/home/${name}:/bin/bash`);
  for (const { name, id } of people) {
    const home = labPath(`home/${name}`);
    cpSync('/etc/skel', home, { recursive: true });
    chmodSync(home, 0o755);
    for (const path of [home, ...readdirSync(home).map((entry) => join(home, entry))])
      chownSync(path, id, id);
  }
  await addToAccount(account, newcomers);
}
