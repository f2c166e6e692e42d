import { ApiError } from '../api';
import { conversationApi, type Listed } from './api';

/** Between the last letter of a search and asking the box. */
const SEARCH_MS = 250;
/** Several changes in a row are one look. */
const LOOK_MS = 400;

/** The list of conversations as the box has it, the one that changed last first, or what a search found. */
export class ConversationList {
  /** Whether the box keeps conversations; `tab` with a box whose version does not. */
  keeping = $state<'unknown' | 'box' | 'tab'>('unknown');
  found = $state.raw<Listed[]>([]);
  /** Where the next page begins. */
  next = $state.raw<string | null>(null);
  query = $state('');
  loaded = $state(false);
  failure = $state.raw<unknown>(null);
  #looks = 0;
  /** What was searched for when the list was read. */
  #searched = '';
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Reads the first page; later pages that were read stay. */
  async load(): Promise<void> {
    this.#looks += 1;
    const look = this.#looks;
    const { query } = this;
    try {
      const page = await conversationApi.list(query.trim(), null);
      if (look !== this.#looks) return;
      this.keeping = 'box';
      this.failure = null;
      const last = page.conversations.at(-1);
      const first = new Set(page.conversations.map(({ id }) => id));
      const same = query === this.#searched && last && page.next;
      const older = same ? this.found.filter(({ id, updated }) => !first.has(id) && updated < last.updated) : [];
      this.found = [...page.conversations, ...older];
      if (older.length === 0) this.next = page.next;
      this.#searched = query;
    } catch (cause) {
      if (look !== this.#looks) return;
      if (cause instanceof ApiError && cause.status === 404) this.keeping = 'tab';
      else this.failure = cause;
    }
    this.loaded = true;
  }

  async more(): Promise<void> {
    const { query, next } = this;
    if (!next) return;
    try {
      const page = await conversationApi.list(query.trim(), next);
      if (query !== this.query) return;
      const known = new Set(this.found.map(({ id }) => id));
      this.found = [...this.found, ...page.conversations.filter(({ id }) => !known.has(id))];
      this.next = page.next;
      this.failure = null;
    } catch (cause) {
      this.failure = cause;
    }
  }

  search(query: string): void {
    this.query = query;
    this.#after(SEARCH_MS);
  }

  /** Something has changed. */
  soon(): void {
    this.#after(LOOK_MS);
  }

  drop(id: string): void {
    this.found = this.found.filter((row) => row.id !== id);
  }

  clear(): void {
    this.found = [];
    this.next = null;
  }

  /** Nothing is known of any account. */
  reset(): void {
    clearTimeout(this.#timer);
    this.#looks += 1;
    this.clear();
    this.keeping = 'unknown';
    this.query = '';
    this.loaded = false;
    this.failure = null;
  }

  #after(pause: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.load(), pause);
  }
}
