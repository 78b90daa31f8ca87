import { closeSync, constants, fstatSync, openSync, readFileSync } from 'node:fs';

export class NotRegularError extends Error {
  override name = 'NotRegularError';
  override message = 'it is not a regular file';
}

/**
 * Opens a regular file, or a directory (of which the system itself says what can't be done with it). Throws for everything
 * else: to open a FIFO is to wait for its other end, within our only thread.
 */
export function openRegular(file: string, flags: number, mode?: number): number {
  const descriptor = openAtOnce(file, flags, mode);
  const stats = fstatSync(descriptor);
  if (stats.isFile() || stats.isDirectory()) return descriptor;
  closeSync(descriptor);
  throw new NotRegularError();
}

/** Reads a regular file. Throws for everything else, and the system's error. */
export function readRegular(file: string): Buffer {
  const descriptor = openRegular(file, constants.O_RDONLY);
  try {
    return readFileSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function openAtOnce(file: string, flags: number, mode?: number): number {
  try {
    return openSync(file, flags | constants.O_NONBLOCK, mode);
  } catch (error) {
    // open(2): a FIFO that nobody reads, a socket, or a device that isn't there.
    if ((error as NodeJS.ErrnoException).code === 'ENXIO') throw new NotRegularError();
    throw error;
  }
}
