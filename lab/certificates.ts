import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';

/** Files that {@link makeCertificates} writes, PEM. */
export interface CertificateFiles {
  ca: string;
  cert: string;
  key: string;
}

/** Makes a CA and a certificate for a domain and all names in it, with keys only root can read; the CA's own is thrown away. */
export async function makeCertificates(domain: string, files: CertificateFiles): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'lab-ca-'));
  const caKey = join(scratch, 'ca.key');
  const request = join(scratch, 'site.csr');
  const extensions = join(scratch, 'site.ext');
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  try {
    // Browsers refuse certificates that are valid for longer than 398 days.
    const days = ['-days', '397'];
    await execa('openssl', [
      ...['req', '-x509', ...newKey, '-keyout', caKey, '-out', files.ca, ...days],
      ...['-subj', '/CN=start-jupyter lab CA', '-addext', 'keyUsage=critical,keyCertSign,cRLSign'],
    ]);
    await execa('openssl', [
      'req',
      ...newKey,
      '-keyout',
      files.key,
      '-out',
      request,
      '-subj',
      `/CN=${domain}`,
    ]);
    chmodSync(files.key, 0o600);
    writeFileSync(
      extensions,
      `subjectAltName=DNS:${domain},DNS:*.${domain}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n`,
    );
    await execa('openssl', [
      ...['x509', '-req', '-in', request, '-CA', files.ca, '-CAkey', caKey, '-CAcreateserial'],
      ...['-out', files.cert, ...days, '-extfile', extensions],
    ]);
    chmodSync(files.ca, 0o644);
  } finally {
    rmSync(scratch, { recursive: true });
  }
}
