import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { en } from './en';
import { es } from './es';
import { fill, plural, preferred } from './index.svelte';

const placeholders = (text: string) => [...text.matchAll(/\{\w+\}/g)].map(String).sort();

describe('the translations', () => {
  it('have the same keys in both languages', () => {
    expect(Object.keys(es).sort()).toEqual(Object.keys(en).sort());
  });

  it('keep every placeholder', () => {
    for (const [key, text] of Object.entries(en)) {
      expect(placeholders(es[key as keyof typeof en]), key).toEqual(placeholders(text));
    }
  });

  it('have no empty text', () => {
    for (const table of [en, es]) {
      for (const [key, text] of Object.entries(table)) expect(text.trim(), key).not.toBe('');
    }
  });

  it('are all used', () => {
    const folder = join(import.meta.dirname, '../..');
    const source = readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.(svelte|ts)$/.test(name) && !/i18n[/\\](?:\w+\.)?e[ns]\.ts$/.test(name))
      .map((name) => readFileSync(join(folder, name), 'utf8'))
      .join('\n');
    // A key is used by its full name, or through a template that starts with its beginning.
    const beginnings = [...source.matchAll(/`([a-zA-Z.]+\.)\$\{/g)].map((match) => match[1]!);
    const named = (key: string) => source.includes(`'${key}'`) || source.includes(`'${key.replace(/\.(?:one|other)$/, '')}'`);
    const unused = Object.keys(en).filter(
      (key) => !named(key) && !beginnings.some((beginning) => key.startsWith(beginning)),
    );
    expect(unused).toEqual([]);
  });
});

describe('the language', () => {
  it.each([
    [['es-MX', 'en'], 'es'],
    [['ca', 'es-ES', 'en'], 'es'],
    [['en-GB', 'es'], 'en'],
    [['de', 'fr'], 'en'],
    [[], 'en'],
  ] as const)('of a browser that wants %j is %s', (wanted, expected) => {
    expect(preferred(wanted)).toBe(expected);
  });
});

describe('the plural', () => {
  it('is the one that the language uses', () => {
    expect(plural('conversation.leave', 1)).toContain('1 conversation is');
    expect(plural('conversation.leave', 0)).toContain('0 conversations are');
    expect(plural('conversation.leave', 1200)).toContain('1,200 conversations are');
  });

  it('has both of its texts in both languages', () => {
    for (const table of [en, es]) {
      const forms = (form: string) =>
        Object.keys(table).filter((key) => key.endsWith(form)).map((key) => key.slice(0, -form.length));
      expect(forms('.one')).not.toEqual([]);
      expect(forms('.other')).toEqual(expect.arrayContaining(forms('.one')));
    }
  });
});

describe('fill', () => {
  it('replaces names and leaves unknown ones visible', () => {
    expect(fill('{a} of {b} and {c}', { a: 1, b: 'two' })).toBe('1 of two and {c}');
  });

  it('does not read patterns in a value', () => {
    expect(fill('{a}', { a: '$& {b}', b: 'x' })).toBe('$& {b}');
  });
});
