/**
 * A job id as tokens are linked to it. Ids are opaque (`141659[2].server`); brackets are dropped, as the original's
 * clients do. The first character is never one that a scheduler's command would take for an option. Undefined for what
 * can't be one.
 */
export function jobIdFrom(text: string): string | undefined {
  const id = text.trim().replace(/[[\]]/g, '');
  return /^[A-Za-z0-9][\w.+-]{0,99}$/.test(id) ? id : undefined;
}
