/**
 * The oldest one that takes all that is in our configuration. 2.4.0 to 2.4.3 can't read one of its lines, and read two requests
 * where there is one (CVE-2021-40346).
 */
export const OLDEST = '2.4.4';

/** The newest series that was tested: see docs/satellite.md. */
const NEWEST = '3.4';

/** Is that version below what is needed? */
export const isTooOld = (version: string): boolean => compareVersions(version, OLDEST) < 0;

/** What an operator is told of a version that nobody has tried; undefined for others. */
export function adviceOn(version: string): string | undefined {
  if (compareVersions(series(version), NEWEST) <= 0) return undefined;
  return `HAProxy ${version} is newer than what this satellite was tested with (up to ${NEWEST}): look into its release notes, and whether satellite has a newer version`;
}

const series = (version: string): string => version.split('.').slice(0, 2).join('.');

/** As the first is before or after the second, by their numbers; what is behind these ("-1~bpo11+1") says nothing. */
export function compareVersions(one: string, other: string): number {
  const numbers = (version: string): number[] => (version.match(/^[\d.]+/)?.[0] ?? '').split('.').map(Number);
  const [a, b] = [numbers(one), numbers(other)];
  const at = b.findIndex((number, i) => number !== (a[i] ?? 0));
  return at < 0 ? 0 : (a[at] ?? 0) - (b[at] ?? 0);
}
