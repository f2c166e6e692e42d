/**
 * Public keys of OpenSSH, taken apart as the box does it. The rules are the library's
 * `crates/settings/src/ssh_key.rs`; both are tested against the same table.
 */

export type SshFault =
  | 'private'
  | 'lines'
  | 'long'
  | 'options'
  | 'kind'
  | 'base64'
  | 'other-kind'
  | 'cut'
  | 'bits';

const LONGEST = 8192;
const SHORTEST_RSA_BITS = 1024;
const LONGEST_RSA_BITS = 16384;

/** What is inside a body after its kind; a key on a security key ends in the name of an application. */
type Body = { inside: 'ed25519' } | { inside: 'rsa' } | { inside: 'ecdsa'; curve: string; coordinate: number };
type Kind = Body & { onSecurityKey?: boolean };

const KINDS = new Map<string, Kind>([
  ['ssh-ed25519', { inside: 'ed25519' }],
  ['ssh-rsa', { inside: 'rsa' }],
  ['ecdsa-sha2-nistp256', { inside: 'ecdsa', curve: 'nistp256', coordinate: 32 }],
  ['ecdsa-sha2-nistp384', { inside: 'ecdsa', curve: 'nistp384', coordinate: 48 }],
  ['ecdsa-sha2-nistp521', { inside: 'ecdsa', curve: 'nistp521', coordinate: 66 }],
  ['sk-ssh-ed25519@openssh.com', { inside: 'ed25519', onSecurityKey: true }],
  ['sk-ecdsa-sha2-nistp256@openssh.com', { inside: 'ecdsa', curve: 'nistp256', coordinate: 32, onSecurityKey: true }],
]);

/** A line without the blanks around it, and with single ones between its parts. */
export function bareKey(typed: string): string {
  return words(typed).join(' ');
}

/** What keeps a line from being a public key; null when it is one. */
export function sshKeyFault(typed: string): SshFault | null {
  if (typed.includes('PRIVATE KEY')) return 'private';
  const line = typed.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, '');
  if (new TextEncoder().encode(line).length > LONGEST) return 'long';
  // Tabs separate parts; no other control character belongs into a line.
  if (/[\0-\x08\x0a-\x1f\x7f-\x9f]/.test(line)) return 'lines';
  const [name = '', encoded = '', ...rest] = words(line);
  const kind = KINDS.get(name);
  if (!kind) return [encoded, ...rest].some((word) => KINDS.has(word)) ? 'options' : 'kind';
  const bytes = decode(encoded);
  return bytes === null ? 'base64' : bodyFault(bytes, name, kind);
}

function words(line: string): string[] {
  return line.split(/[ \t\r\n]+/).filter((word) => word !== '');
}

/** Strict base64: browsers forgive missing signs and stray bits, OpenSSH's tools never write them. */
function decode(text: string): Uint8Array | null {
  try {
    const binary = atob(text);
    return btoa(binary) === text ? Uint8Array.from(binary, (sign) => sign.charCodeAt(0)) : null;
  } catch {
    return null;
  }
}

/** Goes through the body part by part; each is its length in four bytes and so many bytes. */
function bodyFault(bytes: Uint8Array, name: string, kind: Kind): SshFault | null {
  const parts = split(bytes);
  const text = (part: Uint8Array | undefined) => part && String.fromCharCode(...part);
  const [own, ...inner] = parts.whole;
  if (!own) return 'cut';
  if (text(own) !== name) return 'other-kind';
  const fault = innerFault(inner, kind, text);
  if (fault) return fault;
  const expected = (kind.inside === 'ed25519' ? 1 : 2) + (kind.onSecurityKey ? 1 : 0);
  const application = kind.onSecurityKey ? inner[expected - 1] : undefined;
  if (kind.onSecurityKey && !application?.length) return 'cut';
  return inner.length === expected && parts.left === 0 ? null : 'cut';
}

function innerFault(
  inner: Uint8Array[],
  kind: Kind,
  text: (part: Uint8Array | undefined) => string | undefined,
): SshFault | null {
  const [first, second] = inner;
  switch (kind.inside) {
    case 'ed25519':
      return first?.length === 32 ? null : 'cut';
    case 'ecdsa':
      if (!first) return 'cut';
      if (text(first) !== kind.curve) return 'other-kind';
      // Uncompressed: OpenSSH reads no other form.
      return second?.length === 1 + 2 * kind.coordinate && second[0] === 4 ? null : 'cut';
    case 'rsa': {
      if (!bits(first)) return 'cut';
      const length = bits(second);
      if (!length) return 'cut';
      return length >= SHORTEST_RSA_BITS && length <= LONGEST_RSA_BITS ? null : 'bits';
    }
  }
}

function split(bytes: Uint8Array): { whole: Uint8Array[]; left: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const whole: Uint8Array[] = [];
  let at = 0;
  while (bytes.length - at >= 4) {
    const end = at + 4 + view.getUint32(at);
    if (end > bytes.length) break;
    whole.push(bytes.subarray(at + 4, end));
    at = end;
  }
  return { whole, left: bytes.length - at };
}

/** Length of a positive number, 0 when it is none: a first bit that is set would make it negative. */
function bits(number: Uint8Array | undefined): number {
  if (!number?.length || number[0]! >= 0x80) return 0;
  const start = number.findIndex((byte) => byte !== 0);
  return start < 0 ? 0 : (number.length - start) * 8 - (Math.clz32(number[start]!) - 24);
}

/** The parts of a public key a person recognises: its comment and the end of its body. */
export function sshKeyLabel(line: string): { type: string; tail: string; comment: string } {
  const [type = '', body = '', ...comment] = words(line);
  return { type, tail: body.replace(/=+$/, '').slice(-8), comment: comment.join(' ') };
}
