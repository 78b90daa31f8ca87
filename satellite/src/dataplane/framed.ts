import type { Edits } from './engine.ts';

/**
 * The value of `frame-ancestors` for a site that may be embedded in pages of these origins: they, and pages of its own
 * in between.
 */
export function frameAncestors(parents: readonly string[]): string {
  return ["'self'", ...parents].join(' ');
}

/**
 * The changes on the way from a site that may be embedded in pages of these origins and no others, whatever it says
 * itself. In a frame of another site browsers send only cookies that ask for it, and keep them apart for each site that
 * embeds (SameSite=None; Secure; Partitioned).
 */
export function framedEdits(parents: readonly string[], proto: 'http' | 'https'): Edits {
  const policy = `frame-ancestors ${frameAncestors(parents)}`;
  return {
    response(fields) {
      const kept: string[] = [];
      for (let i = 0; i < fields.length; i += 2) {
        const name = fields[i] as string;
        const value = fields[i + 1] as string;
        const lower = name.toLowerCase();
        if (lower === 'x-frame-options') continue;
        if (lower === 'content-security-policy') {
          const others = withoutFrameAncestors(value);
          if (others !== '') kept.push(name, others);
        } else
          kept.push(
            name,
            lower === 'set-cookie' ? ownCookie(value, parents.length > 0 && proto === 'https') : value,
          );
      }
      kept.push('Content-Security-Policy', policy);
      return kept;
    },
  };
}

/** CSP Level 3 section 2.2: policies are separated by commas, directives by semicolons, names have no case. */
function withoutFrameAncestors(value: string): string {
  return value
    .split(',')
    .map((policy) =>
      policy
        .split(';')
        .filter((directive) => !/^\s*frame-ancestors(?:\s|$)/i.test(directive))
        .join(';')
        .trim(),
    )
    .filter((policy) => policy !== '')
    .join(', ');
}

/** A cookie of this host alone, which is sent in a frame of another site, too, where it is to be. */
function ownCookie(field: string, inFrames: boolean): string {
  const dropped = inFrames
    ? /^\s*(?:domain|samesite|secure|partitioned)\s*(?:=|$)/i
    : /^\s*domain\s*(?:=|$)/i;
  const [pair = '', ...attributes] = field.split(';');
  const kept = attributes.filter((attribute) => !dropped.test(attribute));
  return [pair, ...kept, ...(inFrames ? [' SameSite=None', ' Secure', ' Partitioned'] : [])].join(';');
}
