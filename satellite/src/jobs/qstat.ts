/** Reads what the qstat of PBS Pro, OpenPBS and Torque prints. */

/** A job's or a queue's attributes as qstat names them; those in groups as `Resource_List.walltime`. */
export type Attributes = Readonly<Record<string, string>>;

const kinds = {
  jobs: { key: 'Jobs', heading: /^Job Id: /m },
  queues: { key: 'Queue', heading: /^Queue: /m },
} as const;

/**
 * Reads `qstat -f -F json`, or the text of `qstat -f` where that isn't JSON (functions in a job's environment break it,
 * openpbs issue 2541; so do values with leading zeros, 1255). Undefined for what is neither.
 */
export function parseQstat(
  output: string,
  kind: keyof typeof kinds = 'jobs',
): Map<string, Attributes> | undefined {
  try {
    const answer = JSON.parse(output) as Record<string, Record<string, Record<string, unknown>> | undefined>;
    const objects = answer[kinds[kind].key];
    // Where there is nothing to list, the answer has just the server's name, version and time.
    if ((typeof objects !== 'object' || objects === null) && answer.pbs_server === undefined)
      return undefined;
    return new Map(Object.entries(objects ?? {}).map(([name, attributes]) => [name, flat(attributes)]));
  } catch {
    return parseText(output, kinds[kind].heading);
  }
}

function flat(attributes: Record<string, unknown>): Attributes {
  const pairs = Object.entries(attributes).flatMap(([name, value]) =>
    typeof value === 'object' && value !== null
      ? Object.entries(value).map(([part, inner]) => [`${name}.${part}`, String(inner)])
      : [[name, String(value)]],
  );
  return Object.fromEntries(pairs);
}

function parseText(output: string, heading: RegExp): Map<string, Attributes> | undefined {
  const objects = new Map<string, Attributes>();
  // Long values go on in lines that begin with a tab.
  for (const section of output.replaceAll('\n\t', '').split(heading).slice(1)) {
    const [name = '', ...lines] = section.split('\n');
    const pairs = lines.flatMap((line) => {
      const [, attribute, value] = /^ {4}([\w.]+) = (.*)$/.exec(line) ?? [];
      return attribute === undefined ? [] : [[attribute, value]];
    });
    // A job's environment comes late and may hold lines that look like attributes: the first word counts.
    objects.set(name.trim(), Object.fromEntries(pairs.toReversed()));
  }
  return objects.size > 0 || output.trim() === '' ? objects : undefined;
}

/** `Sat Nov 21 21:04:48 2026`, as printed where the time zone is UTC; seconds since the epoch in some versions. */
export function qstatTime(text: string | undefined): Date | undefined {
  if (text === undefined) return undefined;
  const at = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(`${text} UTC`);
  return Number.isNaN(at) ? undefined : new Date(at);
}

/** `36:00:00` in seconds. */
export function qstatSeconds(text: string | undefined): number | undefined {
  const [, hours, minutes, rest] = /^(\d+):(\d\d):(\d\d)$/.exec(text ?? '') ?? [];
  return hours === undefined ? undefined : Number(hours) * 3600 + Number(minutes) * 60 + Number(rest);
}
