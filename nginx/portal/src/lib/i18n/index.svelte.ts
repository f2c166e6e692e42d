import type { Localized } from '../api';
import { en, type Key } from './en';
import { es } from './es';

export type { Key } from './en';
export type Language = 'en' | 'es';
/** Keys that have a text for one thing and one for several. */
export type PluralKey<Each = Key> = Each extends `${infer Beginning}.one`
  ? `${Beginning}.other` extends Key
    ? Beginning
    : never
  : never;
export type Values = Record<string, string | number>;

const STORED = 'actionbooster.language';
const tables: Record<Language, Record<Key, string>> = { en, es };

/** The first of the browser's languages that we speak, or English. */
export function preferred(wanted: readonly string[]): Language {
  for (const tag of wanted) {
    const language = tag.toLowerCase().split('-')[0];
    if (language === 'es' || language === 'en') return language;
  }
  return 'en';
}

/** Puts values in the place of `{name}`; an unknown name stays visible. */
export function fill(text: string, values: Values = {}): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole));
}

class I18n {
  #language = $state<Language>('en');

  get language(): Language {
    return this.#language;
  }

  /** Takes the stored choice, else the browser's language. */
  detect(): void {
    const stored = read();
    this.#set(stored ?? preferred(navigator.languages));
  }

  /** Changes the language and remembers it on this device. */
  choose(language: Language): void {
    this.#set(language);
    try {
      localStorage.setItem(STORED, language);
    } catch {
      // A browser that keeps nothing still gets its language for this visit.
    }
  }

  #set(language: Language): void {
    this.#language = language;
    document.documentElement.lang = language;
  }

  t = (key: Key, values?: Values): string => fill(tables[this.#language][key], values);

  /** The text for a number of things: the form that the language uses for it, with `{count}` in its place. */
  plural = (key: PluralKey, count: number, values?: Values): string => {
    const form = new Intl.PluralRules(this.#language).select(count) === 'one' ? 'one' : 'other';
    return this.t(`${key}.${form}` as Key, { count: new Intl.NumberFormat(this.#language).format(count), ...values });
  };

  /** The text for a key that may not exist, such as one made from a server's word. */
  maybe = (key: string, values?: Values): string | null =>
    Object.hasOwn(en, key) ? this.t(key as Key, values) : null;

  /** The right half of a text that the box wrote in both languages. */
  pick = (text: Localized | null | undefined): string => text?.[this.#language] ?? text?.en ?? '';
}

function read(): Language | null {
  try {
    const stored = localStorage.getItem(STORED);
    return stored === 'en' || stored === 'es' ? stored : null;
  } catch {
    return null;
  }
}

export const i18n = new I18n();
export const { t, plural, maybe, pick } = i18n;
