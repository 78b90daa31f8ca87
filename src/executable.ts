/** What the self-contained executable runs: it is both programs, and the name by which it is called says which. */
import path from 'node:path';

if (path.basename(process.argv0).startsWith('satellite')) void import('satellite/main');
else void import('./main.ts');
