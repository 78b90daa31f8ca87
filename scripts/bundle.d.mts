import type { Plugin } from 'esbuild';

export declare const besideLauncher: Plugin;
export declare function bundle(entry: string, outfile: string, plugins?: Plugin[]): Promise<string[]>;
