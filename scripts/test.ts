/**
 * The whole test run: unit and integration tests, then, where this machine can carry it, the cluster lab with the
 * end-to-end tests. The last line counts. What is left out is said with its reason; with START_JUPYTER_TEST_COMPLETE
 * set, leaving anything out is a failure.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { execa } from 'execa';
import { installBrowser, installDatabase, installFronts, installTools } from '../lab/lab.ts';
import { differenceOf } from '../satellite/test/differences.ts';

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** The part of vitest's JSON report that is read here. */
interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly ancestorTitles: readonly string[];
      readonly title: string;
      readonly fullName: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

const complete = Boolean(process.env.START_JUPYTER_TEST_COMPLETE);
const workspace = mkdtempSync(path.join(os.tmpdir(), 'start-jupyter-test-'));
const total: Counts = { passed: 0, failed: 0, skipped: 0 };
const leftOut: string[] = [];
const failures: string[] = [];

try {
  const obstacle = labObstacle();
  if (obstacle === undefined) {
    await installTools(console.log);
    await installBrowser(console.log);
    await installFronts(console.log);
    await installDatabase(console.log);
  }
  await run('node', ['scripts/build.mjs']);
  const projects = ['unit', 'satellite', 'long', 'haproxy', 'integration'];
  await vitest('without the lab', obstacle === undefined ? [...projects, 'browser'] : projects);
  if (obstacle === undefined) {
    await vitest('in the lab', ['e2e']);
    await run('node', ['lab/cli.ts', 'down']);
  } else {
    leftOut.push(`The end-to-end tests, in the cluster lab and with a browser, were left out: ${obstacle}.`);
  }
} finally {
  rmSync(workspace, { recursive: true, force: true });
}

// Where the output is long, its end is what people see.
for (const failure of failures) console.log(failure);
for (const line of leftOut) console.log(line);
if (total.skipped > 0) console.log('Skipped tests say why in their names or above.');
if (complete && (leftOut.length > 0 || total.skipped > 0)) {
  console.log('START_JUPYTER_TEST_COMPLETE is set: leaving something out is a failure.');
  total.failed += leftOut.length + total.skipped;
}
console.log(
  `${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}`,
);
process.exitCode = total.failed > 0 ? 1 : 0;

/** Why the lab can't come up on a machine like this; undefined where it can. */
function labObstacle(): string | undefined {
  if (process.getuid?.() !== 0) return 'it makes network namespaces and users, for which it needs root';
  if (!existsSync('/etc/debian_version'))
    return 'it installs its parts as Debian packages, and this is neither Debian nor Ubuntu';
  return undefined;
}

async function vitest(title: string, projects: readonly string[]): Promise<void> {
  const outputFile = path.join(workspace, `${projects[0]}.json`);
  console.log(`\n── Tests ${title} ──`);
  const args = [
    'run',
    ...projects.flatMap((project) => ['--project', project]),
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${outputFile}`,
  ];
  const { exitCode } = await execa('vitest', args, { stdio: 'inherit', reject: false, preferLocal: true });
  const report = existsSync(outputFile) ? JSON.parse(readFileSync(outputFile, 'utf8')) : { testResults: [] };
  const counts = countsOf(report);
  // They are no tests of this engine: what it does otherwise is written down, and said here.
  for (const { file, ancestorTitles, title, status } of (report as Report).testResults.flatMap(
    ({ name, assertionResults }) =>
      assertionResults.map((result) => ({ ...result, file: path.basename(name) })),
  )) {
    const reason =
      status === 'skipped' || status === 'pending'
        ? differenceOf(file, [...ancestorTitles, title].join(' > '))
        : undefined;
    if (reason === undefined) continue;
    counts.skipped -= 1;
    console.log(`Engine haproxy differs in "${title}": ${reason}.`);
  }
  failures.push(...failuresOf(report));
  // A run that broke outside of any test counts too.
  if (exitCode !== 0 && counts.failed === 0) counts.failed = 1;
  total.passed += counts.passed;
  total.failed += counts.failed;
  total.skipped += counts.skipped;
}

/** What vitest's JSON report (jest's format) says in numbers. */
function countsOf({ numPassedTests = 0, numFailedTests = 0, numPendingTests = 0, numTodoTests = 0 }): Counts {
  return { passed: numPassedTests, failed: numFailedTests, skipped: numPendingTests + numTodoTests };
}

/** Each test that failed: where, which, and the first lines of why. */
function failuresOf({ testResults }: Report): string[] {
  return testResults.flatMap(({ name, message, assertionResults }) => {
    const file = path.relative(process.cwd(), name);
    const failed = assertionResults
      .filter(({ status }) => status === 'failed')
      .map((one) => `FAILED ${file}: ${one.fullName}\n${firstLines(one.failureMessages.join('\n'))}`);
    return message && failed.length === 0 ? [`FAILED ${file}\n${firstLines(message)}`] : failed;
  });
}

function firstLines(text: string): string {
  return text
    .split('\n')
    .slice(0, 12)
    .map((line) => `  ${line}`)
    .join('\n');
}

async function run(command: string, args: readonly string[]): Promise<void> {
  await execa(command, args, { stdio: 'inherit', preferLocal: true });
}
