import type { Turn } from './turn';

/**
 * The turns after the box was read. Its order counts, and its turns, except for those that this tab
 * has still to send (`pending`) or to delete there (`removed`). What only this tab has stays at the
 * end; what the box no longer has was deleted elsewhere.
 */
export function merge(
  here: readonly Turn[],
  there: readonly Turn[],
  pending: ReadonlySet<string>,
  removed: ReadonlySet<string>,
): Turn[] {
  const ours = new Map(here.map((turn) => [turn.id, turn]));
  const known = new Set(there.map(({ id }) => id));
  const kept = there
    .filter(({ id }) => !removed.has(id))
    .map((turn) => (pending.has(turn.id) ? (ours.get(turn.id) ?? turn) : turn));
  return [...kept, ...here.filter(({ id }) => pending.has(id) && !known.has(id))];
}
