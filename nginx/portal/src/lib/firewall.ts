/** One exception of the firewall in a line: the provisioner gives a text, or named parts. */
export function rule(value: unknown): string {
  if (typeof value === 'string') return value;
  if (value === null || typeof value !== 'object') return String(value);
  return Object.values(value)
    .filter((part) => part !== null && part !== '' && part !== undefined)
    .map((part) => (Array.isArray(part) ? part.join(', ') : String(part)))
    .join(' · ');
}
