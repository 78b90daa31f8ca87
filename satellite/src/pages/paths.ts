/** Below a site's own origin, ours until the site is live and the site's afterwards. */
export const OWN_PREFIX = '/.well-known/satellite/';
export const EVENTS_PATH = `${OWN_PREFIX}events`;
export const STATE_PATH = `${OWN_PREFIX}state`;
/** Tells our answer from one that the site gives under the same path. */
export const STATE_TYPE = 'application/vnd.satellite.page+json';
