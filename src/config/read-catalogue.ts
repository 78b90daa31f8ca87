import type { ConfigFile } from './schema.ts';

/** A text of systems.yaml, and what it says. */
export interface ReadCatalogue {
  readonly text: string;
  readonly content: ConfigFile;
}

/** As it was when the program was bundled: scripts/bundle.mjs replaces this file. */
export const readCatalogue = (): ReadCatalogue | undefined => undefined;
