import type { HaproxyPlan } from '../configuration.ts';

/** A time as HAProxy reads it. */
export const milliseconds = (time: number): string => `${time}ms`;

/** What HAProxy itself answers with a status, with `fields` beside those that each answer has. */
export function errorFile({ hsts }: HaproxyPlan, status: number, text: string, fields = ''): string {
  const stays = hsts === undefined ? '' : `hdr Strict-Transport-Security "${hsts}" `;
  return `  http-error status ${status} content-type text/plain ${stays}${fields}string "${text}\\n"\n`;
}

/** The address of whoever has connected; IPv4 as such, also on a socket for both. Not ipmask(): since 2.9 6to4 is IPv4 to it. */
export const CLIENT = 'src,concat(),regsub(^::ffff:,)';
