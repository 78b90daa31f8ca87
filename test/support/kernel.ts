import { readFileSync } from 'node:fs';
import { Agent, request, WebSocket } from 'undici';
import { secretsOf } from './here.ts';

/**
 * Runs Python in a new kernel of a session on this machine, as a notebook would, and returns what it prints.
 * @param caFile the authority to trust, where the proxy has TLS
 */
export async function runInKernel(link: string, code: string, caFile?: string): Promise<string> {
  const { jupyterToken } = secretsOf(link);
  // No DNS here has to know the site's name.
  const dispatcher = new Agent({
    connect: {
      ...(caFile !== undefined && { ca: readFileSync(caFile) }),
      lookup: (_name, options, callback) =>
        options.all ? callback(null, [{ address: '127.0.0.1', family: 4 }]) : callback(null, '127.0.0.1', 4),
    },
  });
  try {
    const { statusCode, body } = await request(new URL('api/kernels', link), {
      method: 'POST',
      headers: { authorization: `token ${jupyterToken}` },
      dispatcher,
    });
    const text = await body.text();
    if (statusCode !== 201) throw new Error(`no kernel: ${statusCode} ${text}`);
    const { id } = JSON.parse(text);
    const channels = new URL(`api/kernels/${id}/channels?token=${jupyterToken}`, link);
    const socket = new WebSocket(channels.href.replace(/^http/, 'ws'), { dispatcher });
    return await new Promise<string>((resolve, reject) => {
      let printed = '';
      socket.addEventListener('error', () => reject(new Error('the connection to the kernel broke')));
      socket.addEventListener('open', () => {
        const header = {
          msg_id: 'm1',
          msg_type: 'execute_request',
          username: '',
          session: 's1',
          version: '5.3',
        };
        const content = {
          code,
          silent: false,
          store_history: false,
          user_expressions: {},
          allow_stdin: false,
        };
        socket.send(
          JSON.stringify({ channel: 'shell', header, parent_header: {}, metadata: {}, content, buffers: [] }),
        );
      });
      socket.addEventListener('message', ({ data }) => {
        const { msg_type: type, parent_header: parent, content } = JSON.parse(String(data));
        if (parent?.msg_id !== 'm1') return;
        if (type === 'stream') printed += content.text;
        if (type === 'error') reject(new Error(`${content.ename}: ${content.evalue}`));
        if (type === 'status' && content.execution_state === 'idle') resolve(printed.trimEnd());
      });
    }).finally(() => socket.close());
  } finally {
    await dispatcher.destroy();
  }
}
