import { describe, expect, it } from 'vitest';
import { bytes, diskSize, duration, fingerprint, languageNames, moment } from './format';

describe('bytes', () => {
  it.each([
    [0, 'en', '0 B'],
    [1023, 'en', '1,023 B'],
    [1536, 'en', '1.5 KiB'],
    [8 * 1024 ** 3, 'en', '8 GiB'],
    [7.63 * 1024 ** 3, 'es', '7,6 GiB'],
    [900 * 1024 ** 2, 'en', '900 MiB'],
  ])('%d in %s is %s', (value, language, expected) => {
    expect(bytes(value, language)).toBe(expected);
  });
});

describe('disk sizes', () => {
  it.each([
    [512_110_190_592, 'en', '512 GB'],
    [2_000_398_934_016, 'es', '2 TB'],
    [31_914_983_424, 'es', '31,9 GB'],
  ])('%d in %s is %s', (value, language, expected) => {
    expect(diskSize(value, language)).toBe(expected);
  });
});

describe('moments', () => {
  it('reads RFC 3339 and seconds alike', () => {
    expect(moment('2026-11-20T10:00:00Z', 'en', false)).toBe(moment(1_795_168_800, 'en', false));
  });

  it('leaves what it cannot read as it is', () => {
    expect(moment('yesterday', 'en')).toBe('yesterday');
  });
});

describe('fingerprints', () => {
  it.each([
    ['0a1b2c', '0A:1B:2C'],
    ['0A:1B:2C', '0A:1B:2C'],
  ])('%s becomes %s', (hash, expected) => {
    expect(fingerprint(hash)).toBe(expected);
  });
});

describe('language names', () => {
  it.each([
    [['en', 'es'], 'en', 'English and Spanish'],
    [['en', 'es'], 'es', 'inglés y español'],
    [['?'], 'en', '?'],
    [[], 'en', ''],
  ])('%j in %s are %s', (codes, language, expected) => {
    expect(languageNames(codes, language)).toBe(expected);
  });
});

describe('durations', () => {
  it.each([
    [0, 'en', '0 sec'],
    [7_400, 'en', '7 sec'],
    [125_000, 'en', '2 min 5 sec'],
    [3_600_000, 'es', '1 h'],
    [3_725_000, 'es', '1 h 2 min 5 s'],
  ])('of %d ms in %s are %s', (milliseconds, language, expected) => {
    expect(duration(milliseconds, language)).toBe(expected);
  });
});
