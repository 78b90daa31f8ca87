/** A link as a QR code in the terminal, for a tablet's camera. */
import encodeQR from 'qr';
import { paint } from './style.ts';

/** Two rows of modules are one row of half blocks: dark on light where the stream has colours, as scanners want it. */
export function qrCode(text: string, stream: NodeJS.WriteStream): string {
  const modules = encodeQR(text, 'raw', { ecc: 'low', border: 2 });
  const rows: string[] = [];
  for (let top = 0; top < modules.length; top += 2) {
    const row = (modules[top] ?? []).map(
      (dark, column) => halfBlocks[`${dark}/${modules[top + 1]?.[column] ?? false}`],
    );
    rows.push(paint(stream, ['black', 'bgWhiteBright'], row.join('')));
  }
  return `${rows.join('\n')}\n`;
}

/** By the upper and the lower module: dark ones are drawn. */
const halfBlocks: Record<string, string> = {
  'true/true': '█',
  'true/false': '▀',
  'false/true': '▄',
  'false/false': ' ',
};
