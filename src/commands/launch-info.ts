import { stripVTControlCharacters } from 'node:util';
import type { Settings } from '../config/layers.ts';
import { isSetting, type OptionKey, optionKeys, options } from '../options.ts';
import type { System } from '../systems/system.ts';
import { paint } from '../ui/style.ts';
import { formatDuration, type GpuRequest } from '../values.ts';

/** Every setting, its value and where it came from; the system first, then the files that were read. */
export function printInfo(
  settings: Settings,
  system: System,
  { json, files = [] }: { readonly json: boolean; readonly files?: readonly string[] },
): void {
  const keys = optionKeys.filter(isSetting);
  if (json) {
    const entries = keys.map((key) => [key, settings[key] ?? null]);
    process.stdout.write(
      `${JSON.stringify({ system, ...(files.length > 0 ? { files } : {}), settings: Object.fromEntries(entries) })}\n`,
    );
    return;
  }
  const dim = (text: string) => paint(process.stdout, 'dim', text);
  const rows = [
    [
      'system',
      `${system.name} (${system.title})`,
      system.scheduler === 'none' ? 'no scheduler' : `scheduler: ${system.scheduler}`,
    ],
    ...files.map((file) => ['file', file, '']),
    ['proxy', system.proxy?.endpoint ?? dim('none'), ''],
    ...keys.map((key) => {
      const setting = settings[key];
      return [
        options[key].flag,
        setting === undefined ? dim('not set') : valueText(key, setting.value),
        setting?.origin ?? '',
      ];
    }),
  ];
  const widths = [0, 1].map((column) =>
    Math.max(...rows.map((row) => stripVTControlCharacters(row[column] ?? '').length)),
  );
  for (const [name = '', value = '', origin = ''] of rows) {
    process.stdout.write(
      `${`${padded(name, widths[0] ?? 0)}  ${padded(value, widths[1] ?? 0)}  ${dim(origin)}`.trimEnd()}\n`,
    );
  }
}

function padded(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - stripVTControlCharacters(text).length));
}

function valueText(key: OptionKey, value: unknown): string {
  if (key === 'gpu') {
    const { type, count } = value as GpuRequest;
    return type === undefined ? String(count) : `${type}:${count}`;
  }
  if ((key === 'time' || key === 'wait' || key === 'idleTimeout') && typeof value === 'number')
    return formatDuration(value);
  if (key === 'memory') return `${value} MiB`;
  return Array.isArray(value) ? value.join(',') : String(value);
}
