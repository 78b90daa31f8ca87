/** What the self-contained executable runs: it is both programs, and the name by which it is called says which. */
import path from 'node:path';
import { version } from './installation.ts';

const [argument, ...others] = process.argv.slice(2);

// The one answer for which nothing of the programs has to be loaded.
if (others.length === 0 && (argument === '--version' || argument === '-V'))
  process.stdout.write(`${version}\n`);
else if (path.basename(process.argv0).startsWith('satellite')) void import('satellite/main');
else void import('./main.ts');
