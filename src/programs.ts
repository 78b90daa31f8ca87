/** Both programs in one, for the executable: the name by which it is called says which of them it is. */
import path from 'node:path';

if (path.basename(process.argv0).startsWith('satellite')) void import('satellite/main');
else void import('./main.ts');
