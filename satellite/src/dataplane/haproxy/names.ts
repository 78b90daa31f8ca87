import { firstWord } from '../../log.ts';

/** Stick tables and maps by the names that the runtime API knows. They may stand beside somebody else's. */
export const TABLES = {
  clients: 'satellite-clients',
  visits: 'satellite-visits',
  connections: 'satellite-connections',
  requests: 'satellite-requests',
  sockets: 'satellite-sockets',
};

/** Sections by their names, which may stand beside somebody else's. */
export const DEFAULTS = 'satellite-defaults';
export const VISITORS = 'satellite-visitors';
/** The backend of whatever isn't plain. */
export const SATELLITE = 'satellite';
/** The backends that lead to notebooks: with what fills a tab, with WebSockets, with everything else. */
export const PAGES = 'satellite-pages';
export const WEBSOCKETS = 'satellite-websockets';
export const NOTEBOOKS = 'satellite-notebooks';
export const backends = { pages: PAGES, webSockets: WEBSOCKETS, others: NOTEBOOKS };

/** One entry of the map of live sites: its notebook, the port that its visitors use, what a log may say of it. None has an @. */
export const siteEntry = (id: number, host: string, port: number, visited: number, token: string): string =>
  `${id}@${host}@${port}@${visited}@${firstWord(token)}`;
