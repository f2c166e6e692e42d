/** What is being written, kept in this browser until it is sent, for the account that writes it. */

const BEGINNING = 'actionbooster.draft.';
/** Characters of a draft that are kept. */
const LONGEST = 200_000;

const keyOf = (owner: string, place: string) => `${BEGINNING}${encodeURIComponent(owner)}.${place}`;

/** A browser that keeps nothing still lets people write. */
function attempt<T>(work: () => T, otherwise: T): T {
  try {
    return work();
  } catch {
    return otherwise;
  }
}

export function readDraft(owner: string, place: string): string {
  return attempt(() => localStorage.getItem(keyOf(owner, place)) ?? '', '');
}

export function keepDraft(owner: string, place: string, text: string): void {
  attempt(() => {
    if (text === '') localStorage.removeItem(keyOf(owner, place));
    else localStorage.setItem(keyOf(owner, place), text.slice(0, LONGEST));
  }, undefined);
}

/** Leaves nothing of anybody's drafts. */
export function forgetDrafts(): void {
  attempt(() => {
    const keys = Array.from({ length: localStorage.length }, (_, index) => localStorage.key(index));
    for (const key of keys) if (key?.startsWith(BEGINNING)) localStorage.removeItem(key);
  }, undefined);
}
