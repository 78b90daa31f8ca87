/** Runs the program with the arguments of this process. */
import { main } from './cli.ts';
import { reportError } from './ui/report-error.ts';

let outputFailed = false;

// Whoever reads our output may stop before its end ("| head"): what was begun goes on to its own end, unheard.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE' || outputFailed) return;
    outputFailed = true;
    process.stderr.write(`start-jupyter: The output can't be written: ${error.message}\n`);
  });
}

void main(process.argv.slice(2))
  .catch(reportError)
  .then((exitCode) => {
    process.exitCode = exitCode;
    process.once('exit', () => {
      if (outputFailed && exitCode === 0) process.exitCode = 3;
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
  const code = outputFailed && exitCode === 0 ? 3 : exitCode;
  process.execve?.('/bin/sh', ['sh', '-c', `exit ${code}`], {});
}
