import * as z from 'zod';
import packageJson from '../../package.json' with { type: 'json' };
import { phases } from '../tokens/record.ts';
import { bodies, jobSchema, type Route, routes } from './api.ts';

/** What is behind each status of an operation; a name is that of a schema. */
type Answers = Readonly<Record<number, string>>;

interface Description {
  readonly summary: string;
  readonly body?: z.ZodType;
  readonly answers: Answers;
}

const FORBIDDEN =
  'The client is in the wrong network, is not the host that redeemed the token, does not know its Jupyter token, or is a page in a browser.';
const onToken: Answers = {
  403: FORBIDDEN,
  404: 'There is no such token.',
  429: 'The client has asked for too many tokens that do not exist.',
};
const written: Answers = {
  503: 'The state could not be written. Nothing was changed, unless the message says that this is not known.',
};
const withBody: Answers = {
  400: 'The body can not be read, or says something impossible.',
  408: 'The body took too long to arrive.',
  413: 'The body is too large.',
  415: 'The body says of itself that it is not JSON in UTF-8.',
};

const link: Description = {
  summary: 'Link the token to a job, once; again for the same job is fine.',
  body: bodies.job,
  answers: {
    200: 'Token',
    ...withBody,
    ...onToken,
    409: 'The token is linked to another job.',
    410: 'The token is gone.',
    ...written,
  },
};
const phase: Description = {
  summary: 'Say how far the start of the session has come, or why it is over.',
  body: bodies.phase,
  answers: { 200: 'Token', ...withBody, ...onToken, 410: 'The token is gone.', ...written },
};

/** By method and path, as in the table of routes. */
const descriptions: Readonly<Record<string, Description>> = {
  'POST /tokens': {
    summary:
      'Issue a token. With a Jupyter token, only who knows that may redeem, link, renew, report on and destroy it, beside the other rules: for sessions whose address others share.',
    body: bodies.proof,
    answers: {
      201: 'IssuedToken',
      ...withBody,
      403: FORBIDDEN,
      429: 'The client has had too many tokens in the last minute.',
      ...written,
    },
  },
  'GET /tokens/{token}': {
    summary: 'Look at a token. From anywhere: who knows it may know how it is doing.',
    answers: {
      200: 'Token',
      404: 'There is no such token.',
      429: onToken[429] as string,
      503: 'Whether there is such a token can not be looked up at the moment.',
    },
  },
  'DELETE /tokens/{token}': {
    summary: 'Give a token back; also if it is gone already.',
    answers: { 204: 'The token is gone.', ...onToken, ...written },
  },
  'POST /tokens/{token}/destroy': {
    summary: 'The same, with the Jupyter token that it was issued with.',
    body: bodies.proof,
    answers: { 204: 'The token is gone.', ...withBody, ...onToken, ...written },
  },
  'POST /tokens/{token}/redeem': {
    summary:
      'Point the site at this port of the client’s address, once. Where the proxy asks who visits and knows whose session it is, that takes its Jupyter token.',
    body: bodies.redeem,
    answers: {
      200: 'Token',
      ...withBody,
      ...onToken,
      409: 'The token has been redeemed.',
      410: 'The token is gone.',
      ...written,
    },
  },
  'POST /tokens/{token}/renew': {
    summary:
      'Count the time of a redeemed token anew, from the address that redeemed it. For sessions that no scheduler reports.',
    body: bodies.proof,
    answers: { 200: 'Token', ...withBody, ...onToken, 410: 'The token is gone.', ...written },
  },
  'PUT /tokens/{token}/job': link,
  'POST /tokens/{token}/job': link,
  'PUT /tokens/{token}/phase': phase,
  'POST /tokens/{token}/phase': phase,
  'PUT /tokens/{token}/access': {
    summary:
      'Say whose session it is, and with whom it is shared, at a proxy that asks who visits. The first to speak says the owner, too; later it takes the same Jupyter token.',
    body: bodies.access,
    answers: {
      200: 'Access',
      ...withBody,
      ...onToken,
      409: 'This proxy does not ask who visits a site.',
      410: 'The token is gone.',
      ...written,
    },
  },
  'GET /jobs': {
    summary: 'The jobs whose end the proxy waits for.',
    answers: { 200: 'TrackedJobs', 403: FORBIDDEN },
  },
  'POST /jobs': {
    summary: 'Report the states of jobs; those that are not mentioned stay as they were.',
    body: z.array(jobSchema),
    answers: { 200: 'Report', ...withBody, 403: FORBIDDEN, ...written },
  },
  'GET /openapi.json': { summary: 'This document.', answers: { 200: 'Document' } },
};

const text = { type: 'string' };
const textOrNull = { type: ['string', 'null'] };
const timeOrNull = { type: ['string', 'null'], format: 'date-time' };
const whole = { type: 'integer' };

/** An object with all of these and nothing else. */
function object(properties: Record<string, object>) {
  return { type: 'object', properties, required: Object.keys(properties), additionalProperties: false };
}

const issued = {
  token: text,
  site: { type: 'string', format: 'uri' },
  state: { type: 'string', enum: ['pending', 'mapped', 'gone'] },
  expiresAt: timeOrNull,
};

const schemas: Readonly<Record<string, object>> = {
  IssuedToken: object({ ...issued, gated: { type: 'boolean' }, claimed: { type: 'boolean' } }),
  Access: object({ owner: text, sharedWith: { type: 'array', items: text } }),
  Token: object({
    ...issued,
    job: {
      anyOf: [
        { type: 'null' },
        object({
          id: text,
          state: textOrNull,
          position: { type: ['integer', 'null'] },
          estimatedStart: timeOrNull,
          reason: textOrNull,
        }),
      ],
    },
    phase: { enum: [...phases, null] },
    reason: textOrNull,
  }),
  TrackedJobs: { type: 'array', items: object({ id: text, state: textOrNull }) },
  Report: object({
    updated: whole,
    skipped: { type: 'array', items: object({ index: whole, message: text }) },
  }),
  Document: { type: 'object' },
  Error: object({ error: object({ code: text, message: text }) }),
};

function response(status: number, described: string): object {
  const schema = status < 300 && status !== 204 ? described : 'Error';
  return {
    description: schema === described ? 'Done.' : described,
    ...(status !== 204 && {
      content: { 'application/json': { schema: { $ref: `#/components/schemas/${schema}` } } },
    }),
    ...((status === 429 || status === 503) && {
      headers: { 'Retry-After': { schema: { type: 'integer' } } },
    }),
  };
}

function operation({ summary, body, answers }: Description, { path }: Route): object {
  return {
    summary,
    ...(path.includes('{token}') && {
      parameters: [
        {
          name: 'token',
          in: 'path',
          required: true,
          description: 'Three words, or the whole host name of the site.',
          schema: text,
        },
      ],
    }),
    ...(body && {
      requestBody: {
        required: !body.safeParse({}).success,
        content: {
          'application/json': { schema: z.toJSONSchema(body, { io: 'input', unrepresentable: 'any' }) },
        },
      },
    }),
    responses: Object.fromEntries(
      Object.entries(answers).map(([status, described]) => [status, response(Number(status), described)]),
    ),
  };
}

/** The JSON API as an OpenAPI 3.1 document. */
export function openApiDocument(manageUrl: string): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const route of routes) {
    for (const method of Object.keys(route.methods)) {
      const description = descriptions[`${method} ${route.path}`];
      if (description === undefined) throw new Error(`${method} ${route.path} is not described`);
      paths[route.path] = {
        ...paths[route.path],
        [method.toLowerCase()]: operation(description, route),
      };
    }
  }
  return {
    openapi: '3.1.1',
    info: { title: 'Satellite', version: packageJson.version },
    servers: [{ url: `${manageUrl}api/v1` }],
    paths,
    components: { schemas },
  };
}
