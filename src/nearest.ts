import { nearest } from 'satellite/nearest';

/** ` Did you mean "x"?` or nothing, to end a message with. */
export function suggestion(typed: string, candidates: Iterable<string>): string {
  const near = nearest(typed, candidates);
  return near === undefined ? '' : ` Did you mean "${near}"?`;
}
