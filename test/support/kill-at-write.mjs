// Preloaded into a program (node --import): ends it without notice at the change of the file system whose number is in
// KILL_AT, in the middle of it where it writes a file.
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const wanted = Number(process.env.KILL_AT);
let changes = 0;

for (const name of ['mkdirSync', 'writeFileSync', 'renameSync', 'rmSync']) {
  const change = fs[name];
  fs[name] = (...args) => {
    changes += 1;
    if (changes !== wanted) return change(...args);
    if (name === 'writeFileSync') change(args[0], args[1].slice(0, args[1].length / 2), args[2]);
    process.kill(process.pid, 'SIGKILL');
  };
}
syncBuiltinESMExports();
