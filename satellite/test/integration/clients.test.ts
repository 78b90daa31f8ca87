import { execFile, spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import {
  LOGIN,
  NODE1,
  NODE2,
  notebook,
  OUTSIDE,
  type Protocol,
  protocols,
  satellite,
  scratch,
} from '../support.ts';

/*
 * What the original's clients do, with the real curl: the ways in which start-jupyter and galyleo, the scripts made after
 * them, and the script that reports jobs ask and read answers. Where they are wrong (a stray backslash), it is kept.
 */

const leftOut =
  spawnSync('curl', ['--version']).error !== undefined && !process.env.START_JUPYTER_TEST_COMPLETE;

/** Runs bash scripts in one place of the cluster, in which curl needs no options of ours. */
async function place(port: number, address: string, protocol: Protocol) {
  const home = await scratch();
  const settings = [
    `interface = "${address}"`,
    `resolve = "*:${port}:127.0.0.1"`,
    'insecure',
    'noproxy = "*"',
    'max-time = 30',
    protocol === 'HTTP/2' ? 'http2' : 'http1.1',
  ];
  await writeFile(`${home}/.curlrc`, `${settings.join('\n')}\n`);
  return async (script: string, variables: Record<string, string> = {}): Promise<string> => {
    const env = { PATH: process.env.PATH, HOME: home, proxy: `sites.test:${port}`, ...variables };
    const { stdout } = await promisify(execFile)('bash', ['-c', script], { env, cwd: home });
    return stdout;
  };
}

/** The second-last word of body and status code is the token, the last one the code. */
const GET_TOKEN = `
  answer="$(curl -s -w %{http_code} https://manage.$proxy/getlink.cgi -o -)"
  code="$(echo $answer | awk '{print $NF}')"
  [[ $code == 200 ]] || exit 1
  [[ $answer != Oops!* ]] || { echo "refused: $answer"; exit; }
  printf '%s' "$(echo $answer | awk 'NF>1{printf $((NF-1))}' -)"`;
/** The older way: what follows the words. */
const GET_TOKEN_BY_WORDS = `
  answer=$(curl https://manage.$proxy/getlink.cgi)
  token=\${answer#*"Your token is "}
  token=$(echo "$token" | tr '\\n' ' ')
  printf '%s' "$(echo "$token" | xargs)"`;
const REDEEM = `url='"https://manage.$proxy/redeemtoken.cgi?token=$token&port=$port"'; eval curl -s $url`;
const LINK = `curl -s "https://manage.$proxy/linktoken.cgi?token=$token&jobid=$job"`;
const LINK_WITH_BACKSLASH = `curl -s "https://manage.$proxy/linktoken.cgi?token=$token\\&jobid=$job"`;
const DESTROY = `curl "https://manage.$proxy/destroytoken.cgi?token=$token"`;
const STATE = `curl -s "https://manage.$proxy/tokenjobstate.cgi?token=$token.$proxy"`;
/** What squeue prints, with its heading and its padding. */
const REPORT = `
  printf '%s\\n' 'JOBID STATE' "$job     $state" '99_[1-3]  PENDING' >jobs.txt
  echo 'jobstates=' | cat - jobs.txt | curl -s --data-binary @- -XPOST https://manage.$proxy/update-jobs.cgi`;
/** As it is printed for the user: without a slash before the query. */
const VISIT = `curl -s -w ' %{http_code} %{http_version}' "https://$token.$proxy?token=secret"`;
const TOKEN = /^[a-z]+-[a-z]+-[a-z]+$/;

describe.skipIf(leftOut).each(protocols)(
  `original clients over %s${leftOut ? ' (left out: no curl)' : ''}`,
  (protocol) => {
    test('a session from its token to its end', async () => {
      const { port } = await satellite({ tls: { selfSigned: true } });
      const upstream = await notebook((request, response) => response.end(`notebook at ${request.url}`));
      const login = await place(port, LOGIN, protocol);
      const node = await place(port, NODE1, protocol);
      const outside = await place(port, OUTSIDE, protocol);
      const token = await login(GET_TOKEN);
      expect(token).toMatch(TOKEN);
      expect(await login(GET_TOKEN_BY_WORDS)).toMatch(TOKEN);
      const variables = { token, job: '4711', port: String(upstream.port) };

      expect(await outside(STATE, variables)).toBe('PE');
      expect(await node(LINK_WITH_BACKSLASH, variables)).toBe(
        'Oops! Unknown nonce or nonce already destroyed\n',
      );
      expect(await login(LINK, variables)).toBe('Success! Token linked to jobid.\n');
      const report = (state: string) => login(REPORT, { ...variables, state });
      expect(await report('PENDING')).toBe('Successfully updated jobs! \n');
      expect(await outside(STATE, variables)).toBe('Q');
      expect(await outside(VISIT, variables)).toMatch(/Waiting in the queue[\s\S]* 200 (1\.1|2)$/);
      await report('RUNNING');
      expect(await outside(STATE, variables)).toBe('R');

      expect(await node(REDEEM, variables)).toBe('Success!\n');
      const version = protocol === 'HTTP/2' ? '2' : '1.1';
      expect(await outside(VISIT, variables)).toBe(`notebook at /?token=secret 200 ${version}`);
      expect(await login(DESTROY, variables)).toBe(
        'Oops! Nonce must be destroyed from host it was redeemed on\n',
      );
      expect(await node(DESTROY, variables)).toBe('Success! Token destroyed.\n');
      expect(await outside(STATE, variables)).toBe('');
    });

    test('refusals are told by their first word, with status 200', async () => {
      const { port } = await satellite({ tls: { selfSigned: true } });
      const outside = await place(port, OUTSIDE, protocol);
      expect(await outside(GET_TOKEN)).toMatch(
        /^refused: Oops! Client \(your\) IP not in range .*\s200\s*$/s,
      );
      const login = await place(port, LOGIN, protocol);
      const token = await login(GET_TOKEN);
      const [node1, node2] = [await place(port, NODE1, protocol), await place(port, NODE2, protocol)];
      expect(await node1(REDEEM, { token, port: '8888' })).toBe('Success!\n');
      expect(await node2(REDEEM, { token, port: '8888' })).toBe(
        'Oops! Unknown nonce or nonce already used\n',
      );
      // Not for a tunnel, which the original offers and this proxy doesn't: the port is what is missing.
      const revssh = `curl -s "https://manage.$proxy/redeemtoken.cgi?token=$token&revssh=1"`;
      expect(await node1(revssh, { token })).toBe("Oops! Missing 'port' parameter\n");
    });
  },
);
