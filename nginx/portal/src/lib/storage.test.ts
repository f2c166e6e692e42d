import { describe, expect, it } from 'vitest';
import { bars, freePath, shortOf, until, type Storage } from './storage';

const storage: Storage = {
  level: 'ok',
  trouble: null,
  total_bytes: 1000,
  used_bytes: 500,
  free_bytes: 450,
  floor_bytes: 50,
  reserved_bytes: 50,
  inodes: { total: 1000, free: 900, floor: 20 },
  forecast: null,
  parts: [
    { kind: 'models', bytes: 300, files: 3, partly: false, items: [] },
    { kind: 'uploads', bytes: 0, files: 0, partly: false, items: [] },
    { kind: 'holograms', bytes: 200, files: 0, partly: false, items: [] },
  ],
  silent: [],
};

describe('the picture of the disk', () => {
  it('shows every part, leaves open what is free, and ends with the reserve', () => {
    expect(bars(storage)).toEqual([
      { tone: 'models', key: 'models', from: 0, width: 30 },
      { tone: 'system', key: 'holograms', from: 30, width: 20 },
      { tone: 'reserve', key: 'reserve', from: 95, width: 5 },
    ]);
  });

  it('stays inside the bar when files came while it was counted', () => {
    const parts = [{ kind: 'models', bytes: 5000, files: 1, partly: false, items: [] }];
    const shown = bars({ ...storage, parts });
    expect(shown.map(({ from, width }) => from + width)).toEqual([100, 100]);
  });

  it('is empty for a disk that cannot be seen', () => {
    expect(bars({ ...storage, total_bytes: 0 })).toEqual([]);
  });
});

describe('the words', () => {
  it('tell bytes from files', () => {
    expect(shortOf(storage)).toBe('bytes');
    expect(shortOf({ ...storage, inodes: { total: 1000, free: 30, floor: 20 } })).toBe('files');
    expect(shortOf({ ...storage, free_bytes: 10, inodes: { total: 1000, free: 30, floor: 20 } })).toBe('bytes');
    expect(shortOf({ ...storage, inodes: { total: 0, free: 0, floor: 0 } })).toBe('bytes');
  });

  it.each([
    [1800, 'hours', 0],
    [47 * 3600, 'hours', 47],
    [48 * 3600, 'days', 2],
    [10 * 86400, 'days', 10],
  ] as const)('tell %i seconds in %s', (seconds, unit, count) => {
    expect(until(seconds)).toEqual({ unit, count });
  });
});

describe('freeing', () => {
  it('asks for an age only where there is one', () => {
    const door = { id: 'door', name: 'Door', bytes: 1, files: 1, free: { path: '/c/door/sessions', older_than_days: true } };
    expect(freePath(door, 30)).toBe('/c/door/sessions?older_than_days=30');
    expect(freePath({ ...door, free: { path: '/m/one' } }, 30)).toBe('/m/one');
  });
});
