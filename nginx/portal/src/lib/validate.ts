/** Rules of the forms, as data: what is wrong, not how to say it. */

export const PASSWORD_MIN = 10;
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

/** RFC 1123 label, lower case. */
export function isHostname(name: string): boolean {
  return /^(?!-)[a-z0-9-]{1,63}(?<!-)$/.test(name);
}

export type SshFault = 'private' | 'shape';

/** What keeps a line from being a public key; null when it may be one. */
export function sshKeyFault(line: string): SshFault | null {
  if (/PRIVATE KEY/.test(line)) return 'private';
  const types = 'ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-ssh-ed25519@openssh\\.com|sk-ecdsa-sha2-nistp256@openssh\\.com';
  return new RegExp(`^(?:${types}) AAAA[A-Za-z0-9+/]{40,}={0,2}(?: [^\\n\\r]*)?$`).test(line.trim()) ? null : 'shape';
}

/** The parts of a public key a person recognises: its comment and the end of its body. */
export function sshKeyLabel(line: string): { type: string; tail: string; comment: string } {
  const [type = '', body = '', ...comment] = line.trim().split(/\s+/);
  return { type, tail: body.replace(/=+$/, '').slice(-8), comment: comment.join(' ') };
}
