import { untrack } from 'svelte';
import { api, type Model } from '../api';
import type { Chosen } from './conversation.svelte';
import type { Kind } from './turn';

/** Which models there are to answer, and which are to. */
export class Choice {
  models = $state.raw<Model[]>([]);
  chosen = $state.raw<string[]>([]);
  loaded = $state(false);
  failure = $state.raw<unknown>(null);
  /** Those that write; some only turn texts into vectors. */
  writers = $derived(this.models.filter(({ roles }) => roles.join() !== 'embedding'));
  /** With the names that are kept with what they say. */
  picked = $derived<Chosen[]>(this.writers.filter(({ id }) => this.chosen.includes(id)).map(({ id, name }) => ({ id, name })));

  async load(): Promise<void> {
    this.failure = null;
    try {
      this.models = await api.models();
    } catch (cause) {
      this.failure = cause;
    } finally {
      this.loaded = true;
    }
  }

  /** Looks again which of them are loaded; what is shown stays when that fails. */
  look(): void {
    api.models().then((now) => (this.models = now), () => undefined);
  }

  /** A conversation goes on with the models that it had, else with those chosen last, else with the first or all. */
  suit(kind: Kind, had: readonly string[]): void {
    const known = this.writers.map(({ id }) => id);
    untrack(() => {
      const able = (ids: readonly string[]) => ids.filter((id) => known.includes(id));
      const first = kind === 'chat' ? known.slice(0, 1) : known;
      const next = [able(had), able(this.chosen)].find(({ length }) => length > 0) ?? first;
      this.chosen = kind === 'chat' ? next.slice(0, 1) : next;
    });
  }
}
