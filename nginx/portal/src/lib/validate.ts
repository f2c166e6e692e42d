/**
 * Rules of the forms, as data: what is wrong, not how to say it. They are the box's own
 * (`crates/settings`); both are tested against the same table.
 */

export const PASSWORD_MIN = 10;
const PASSWORD_MAX_BYTES = 1024;
export const NAME_MAX = 64;
const CODE_LENGTH = 8;
const CODE_ALPHABET = 'ABCDEFGHJKLMNPQRSTUVWXYZ23456789';

/** Letters and digits of a code, upper case, without the spaces and dashes people type. */
export function bareCode(typed: string): string {
  return typed.toUpperCase().replace(/[\s\-–—]/g, '');
}

/** How the code is shown while it is typed: `K7QM-2XPD`. */
export function shownCode(typed: string): string {
  const bare = bareCode(typed).slice(0, CODE_LENGTH);
  return bare.length > 4 ? `${bare.slice(0, 4)}-${bare.slice(4)}` : bare;
}

export type CodeFault = { fault: 'empty' } | { fault: 'length'; length: number } | { fault: 'letters'; letters: string };

/** What keeps a claim code from being one; null when it may be right. */
export function codeFault(typed: string): CodeFault | null {
  const bare = bareCode(typed);
  if (bare === '') return { fault: 'empty' };
  const strange = [...new Set(bare)].filter((letter) => !CODE_ALPHABET.includes(letter));
  if (strange.length > 0) return { fault: 'letters', letters: strange.join(', ') };
  return bare.length === CODE_LENGTH ? null : { fault: 'length', length: bare.length };
}

/** Characters as people count them, which is also how the box does. */
export function characters(text: string): number {
  return [...text].length;
}

/** The owner's name without the blanks around it; null when it is none. */
export function ownerName(typed: string): string | null {
  const name = typed.trim();
  const control = /[\0-\x1f\x7f-\x9f]/;
  return name === '' || characters(name) > NAME_MAX || control.test(name) ? null : name;
}

export type PasswordFault = 'short' | 'long';

/** What keeps a password from being accepted; null when nothing does. */
export function passwordFault(password: string): PasswordFault | null {
  if (characters(password) < PASSWORD_MIN) return 'short';
  return new TextEncoder().encode(password).length > PASSWORD_MAX_BYTES ? 'long' : null;
}

/** The name on the network, an RFC 1123 label in lower case; null when it is none. */
export function hostname(typed: string): string | null {
  if (!/^(?!-)[a-zA-Z0-9-]{1,63}(?<!-)$/.test(typed)) return null;
  const name = typed.toLowerCase();
  return name === 'localhost' ? null : name;
}
