const ALLOWED = ['http:', 'https:', 'mailto:'];

/**
 * Whether a link that a model wrote may be followed: no scripts, no files, and nothing relative,
 * which would lead into the portal.
 */
export function mayFollow(address: string): boolean {
  try {
    return ALLOWED.includes(new URL(address).protocol);
  } catch {
    return false;
  }
}
