export { ConfigError, type SatelliteConfigInput } from './config.ts';
export type { Log, LogEntry } from './log.ts';
export { type Satellite, type StartOptions, startSatellite } from './server.ts';
export { StoreError } from './tokens/store.ts';
