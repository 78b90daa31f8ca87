import { styleText } from 'node:util';

type Format = Parameters<typeof styleText>[0];

/** Colours text where the stream is a terminal that wants colour (NO_COLOR, FORCE_COLOR and TERM are honoured). */
export function paint(stream: NodeJS.WriteStream, format: Format, text: string): string {
  return styleText(format, text, { stream, validateStream: true });
}
