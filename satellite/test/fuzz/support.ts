import fc from 'fast-check';

const asked = process.env.FUZZ_RUNS;
/** The usual run draws the same cases each time: when it turns red, a change did it. */
const USUAL_SEED = 20_261_122;
const seed = process.env.FUZZ_SEED ?? (asked === undefined ? USUAL_SEED : undefined);
const path = process.env.FUZZ_PATH;

/** For a test's time limit: a long run takes as long as it takes. */
export const PATIENCE_MS = asked === undefined ? 60_000 : 6 * 3600_000;

/** A usual run stops looking for failures after this time, however few cases that were on a busy machine. */
const USUAL_MS = 8000;
/** No single case may take longer: what hangs, fails. */
const HANG_MS = 20_000;

/**
 * Tries a property with `usual` cases, or with FUZZ_RUNS new ones. What fails is made as small as possible and
 * reported with its seed and path; FUZZ_SEED and FUZZ_PATH try the very same case again.
 */
export function holds<T extends [unknown, ...unknown[]]>(
  property: fc.IAsyncPropertyWithHooks<T>,
  usual: number,
): Promise<void> {
  return fc.assert(property, {
    numRuns: asked === undefined ? usual : Number(asked),
    timeout: HANG_MS,
    ...(asked === undefined && { interruptAfterTimeLimit: USUAL_MS }),
    ...(seed !== undefined && { seed: Number(seed) }),
    ...(path !== undefined && { path }),
  });
}

/** Text with every kind of character that has ever hurt somebody. */
export const nasty: fc.Arbitrary<string> = fc.oneof(
  fc.string(),
  fc.string({ unit: 'binary' }),
  fc
    .array(
      fc.constantFrom(
        ...[
          '<',
          '>',
          '"',
          "'",
          '&',
          '`',
          '=',
          '/',
          '\\',
          '$',
          '(',
          ')',
          '{',
          '}',
          ';',
          '|',
          '%',
          '#',
          '?',
          '-',
        ],
        ...['\0', '\x07', '\x1b[31m', '\x1b]0;x\x07', '\x7f', '\x85', '\x9b', '\r', '\n', '\r\n', '\t', ' '],
        ...['\u2028', '\u2029', '\u202e', '\u2066', '\ud800', '\udfff', '\ufeff', '\ufffe', '😀', 'é', 'K'],
        ...[
          '</script>',
          '<!--',
          ']]>',
          '<img src=x onerror=alert(1)>',
          '&lt;',
          '&#60;',
          '{{x}}',

          '%3c',
        ],
        ...['$(id)', '`id`', '../', 'data: x', '__proto__', 'constructor', 'null', '--help', '-x', 'a', '7'],
      ),
      { maxLength: 30 },
    )
    .map((parts) => parts.join('')),
);
