/** The space of the data partition, as the box tells it and as the page shows it. */

/** A thing that takes space. */
export interface StorageItem {
  id: string;
  name: string;
  bytes: number;
  files: number;
  /** How many sessions a camera recorded. */
  sessions?: number;
  /** Of generated files: what stays until it is unpinned. */
  pinned_bytes?: number;
  /** What to delete to free it; with `older_than_days` the address asks for an age. */
  free?: { path: string; older_than_days?: boolean };
}

export interface StoragePart {
  kind: string;
  bytes: number;
  files: number;
  /** Counting took too long: there is more. */
  partly: boolean;
  items: StorageItem[];
}

export interface Storage {
  level: 'ok' | 'low' | 'full';
  /** What is wrong with the partition itself, in the box's words. */
  trouble: string | null;
  total_bytes: number;
  used_bytes: number;
  free_bytes: number;
  /** Uploads, imports and recordings stop when no more than this is free. */
  floor_bytes: number;
  reserved_bytes: number;
  inodes: { total: number; free: number; floor: number };
  forecast: { full_in_s: number; bytes_per_day: number } | null;
  parts: StoragePart[];
  /** Parts of the box that did not say what they keep. */
  silent: string[];
}

export type Tone = 'models' | 'uploads' | 'recordings' | 'assets' | 'conversations' | 'detections' | 'logs' | 'system' | 'reserve';

/** Kinds this version has words and colours for; another one is shown as the system's. */
const KINDS = ['models', 'uploads', 'recordings', 'assets', 'conversations', 'detections', 'logs', 'system'] as const;

export function toneOf(kind: string): Exclude<Tone, 'reserve'> {
  return KINDS.find((known) => known === kind) ?? 'system';
}

/** Where each part lies in a bar of width 100. What is free is left open, the reserve is at the end. */
export function bars(storage: Storage): { tone: Tone; key: string; from: number; width: number }[] {
  if (storage.total_bytes <= 0) return [];
  let from = 0;
  const share = (bytes: number) => Math.min((bytes / storage.total_bytes) * 100, 100 - from);
  const shown = storage.parts
    .filter(({ bytes }) => bytes > 0)
    .map(({ kind, bytes }) => {
      const bar = { tone: toneOf(kind) as Tone, key: kind, from, width: share(bytes) };
      from += bar.width;
      return bar;
    });
  const reserve = share(storage.reserved_bytes);
  return [...shown, { tone: 'reserve', key: 'reserve', from: 100 - reserve, width: reserve }];
}

/** What is nearly used up: bytes, or the number of files. */
export function shortOf(storage: Storage): 'bytes' | 'files' {
  const { free, floor, total } = storage.inodes;
  return total > 0 && free < 2 * floor && storage.free_bytes >= 2 * storage.floor_bytes ? 'files' : 'bytes';
}

/** The largest unit in which the time until then is at least two. */
export function until(seconds: number): { unit: 'hours' | 'days'; count: number } {
  const hours = Math.floor(seconds / 3600);
  return hours < 48 ? { unit: 'hours', count: hours } : { unit: 'days', count: Math.floor(hours / 24) };
}

/** The address that frees a thing; recordings go by their age. */
export function freePath(item: StorageItem, days: number): string {
  const path = item.free?.path ?? '';
  return item.free?.older_than_days ? `${path}?older_than_days=${days}` : path;
}
