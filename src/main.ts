/** Runs the program with the arguments of this process. */
import { main } from './cli.ts';
import { watchOutput } from './ui/output.ts';
import { reportError } from './ui/report-error.ts';

const output = watchOutput();

void main(process.argv.slice(2))
  .catch(reportError)
  .then((exitCode) => {
    process.exitCode = exitCode;
    process.once('exit', () => {
      if (output.hasFailed() && exitCode === 0) process.exitCode = 3;
    });
    process.stdout.write('', () => process.stderr.write('', () => endUnanswered(exitCode)));
  });

/**
 * Ends the process where the DNS still owes an answer that nobody waits for any more. getaddrinfo(3) can't be called off, and
 * exit(3) waits for the thread that it runs in; another program in the place of this one does not.
 */
function endUnanswered(exitCode: number): void {
  if (process.platform === 'win32' || !process.getActiveResourcesInfo().includes('GetAddrInfoReqWrap'))
    return;
  const code = output.hasFailed() && exitCode === 0 ? 3 : exitCode;
  process.execve?.('/bin/sh', ['sh', '-c', `exit ${code}`], {});
}
