import { execa } from 'execa';

/**
 * Installs the Debian packages that are not there yet. Throws when one is missing and this is not root on Debian or
 * Ubuntu, or when apt-get fails; the message says what to type.
 */
export async function ensureDebianPackages(...names: string[]): Promise<void> {
  const missing = await notInstalled(names);
  if (missing.length === 0) return;
  if (process.getuid?.() !== 0) {
    throw new Error(
      `Debian packages are missing and only root can install them. Type: sudo apt-get install ${missing.join(' ')}`,
    );
  }
  await aptGet('update');
  await aptGet('install', '-y', '--no-install-recommends', ...missing);
}

async function notInstalled(names: string[]): Promise<string[]> {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: this is dpkg-query's syntax
  const format = '${Package} ${db:Status-Status}\\n';
  // Exits with 1 when it doesn't know one of them, after printing the others.
  const query = await execa('dpkg-query', ['-W', '-f', format, ...names], {
    reject: false,
  });
  if (query.exitCode === undefined) {
    throw new Error(
      `These tests need Debian or Ubuntu with the packages ${names.join(' ')}: no dpkg-query here.`,
    );
  }
  const lines = query.stdout.split('\n');
  return names.filter((name) => !lines.includes(`${name} installed`));
}

async function aptGet(...args: string[]): Promise<void> {
  const result = await execa('apt-get', ['-q', '-o', 'DPkg::Lock::Timeout=300', ...args], {
    env: { DEBIAN_FRONTEND: 'noninteractive' },
    stdin: 'ignore',
    all: true,
    reject: false,
  });
  if (result.failed) {
    const lastLines = result.all.trim().split('\n').slice(-10).join('\n');
    throw new Error(
      `apt-get ${args.join(' ')} failed. Check that Debian's packages can be reached.\n${lastLines}`,
    );
  }
}
