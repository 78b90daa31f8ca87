/** `start-jupyter logs [ID] [-f]` */
import { createReadStream, existsSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { observeSession } from '../sessions/observe.ts';
import { isOver, type SessionRecord } from '../sessions/session.ts';
import { findSession, sessionFiles } from '../sessions/store.ts';
import { describe } from '../ui/describe.ts';
import { watchReader } from '../ui/reader.ts';

interface LogOptions {
  readonly follow?: boolean;
  readonly json?: boolean;
}

export async function run(id: string | undefined, { follow, json }: LogOptions): Promise<number> {
  const record = findSession(id);
  const { log } = sessionFiles(record.id);
  if (json) return printJson(record, log);
  // Looked at before it is read: what is written between the two is not lost.
  let seen = await observeSession(record);
  let shown = await copy(log, 0);
  const unread = new AbortController();
  const unwatch = follow ? watchReader(() => unread.abort()) : () => {};
  try {
    while (follow && !unread.signal.aborted && !isOver(seen.state)) {
      await sleep(1000, undefined, { signal: unread.signal }).catch(() => {});
      if (unread.signal.aborted) return 0;
      seen = await observeSession(record);
      shown = await copy(log, shown);
    }
  } finally {
    unwatch();
  }
  if (isOver(seen.state)) process.stderr.write(`Session ${record.id} ${seen.state}: ${seen.reason}\n`);
  else if (shown === 0) process.stderr.write(`Nothing has been logged yet. ${describe(seen)}\n`);
  return 0;
}

async function printJson(record: SessionRecord, log: string): Promise<number> {
  const chunks: Buffer[] = [];
  if (existsSync(log)) for await (const chunk of createReadStream(log)) chunks.push(chunk as Buffer);
  const { state, reason } = await observeSession(record);
  process.stdout.write(
    `${JSON.stringify({ id: record.id, state, ...(reason === undefined ? {} : { reason }), log: Buffer.concat(chunks).toString() })}\n`,
  );
  return 0;
}

/** Copies a file to stdout from a position on; returns where it ended. */
async function copy(file: string, from: number): Promise<number> {
  const size = existsSync(file) ? statSync(file).size : 0;
  if (size <= from) return from;
  for await (const chunk of createReadStream(file, { start: from, end: size - 1 }))
    process.stdout.write(chunk as Buffer);
  return size;
}
