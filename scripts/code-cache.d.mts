export declare function removeCodeCaches(bundle: string): void;
export declare function writeCodeCache(bundle: string): void;
export declare function makeCodeCache(bundle: string, file: string): void;
