import { SvelteMap } from 'svelte/reactivity';
import { ApiError } from '../api';
import { conversationApi, type Change, type Listed } from './api';
import { Conversation } from './conversation.svelte';
import { forgetDrafts } from './drafts';
import { ConversationList } from './list.svelte';
import { forget, forgetAll, move, remaining, type Moved } from './migration';
import type { Kind } from './turn';

/** Conversations that stay open behind the one that is looked at. */
const OPEN = 20;
/** Before the events are listened to again; doubled each time. */
const FIRST_PAUSE_MS = 2000;
const LONGEST_PAUSE_MS = 30_000;
/** A deletion can be taken back for so long. */
const UNDO_MS = 10_000;
/** Signing out waits so long for what is being sent. */
const SETTLE_MS = 3000;

/** All conversations of the account: the list of the box, those open in this tab, and what changes. */
class Conversations {
  readonly list = new ConversationList();
  /** Why conversations of an older version are in this browser still. */
  unmoved = $state.raw<unknown>(null);
  /** Deleted, and to be had back for a moment. */
  removing = $state.raw<{ id: string; title: string } | null>(null);
  owner = '';
  #open = new SvelteMap<string, Conversation>();
  #removal: ReturnType<typeof setTimeout> | undefined;

  /** What the list shows: what is in this tab only comes first. */
  rows = $derived.by(() => {
    const known = new Set(this.list.found.map(({ id }) => id));
    const here = [...this.#open.values()].filter(({ id, turns }) => turns.length > 0 && !known.has(id));
    const rows = this.list.found.map((row) => ({ ...row, title: this.#open.get(row.id)?.title || row.title }));
    const own = this.list.query.trim() === '' ? here.map(rowOf).reverse() : [];
    return [...own, ...rows].filter(({ id }) => id !== this.removing?.id);
  });

  /** The conversation of an address; it is read from the box. */
  get(id: string, kind: Kind): Conversation {
    let conversation = this.#open.get(id);
    if (!conversation) {
      conversation = this.#make(id, kind);
      this.#keep(conversation);
    }
    void conversation.refresh();
    return conversation;
  }

  /** One that begins; the list shows it when something was asked. */
  begin(kind: Kind): Conversation {
    const conversation = this.#make(crypto.randomUUID(), kind);
    conversation.loaded = true;
    return conversation;
  }

  /** Something was asked in it. */
  keep(conversation: Conversation): void {
    if (!this.#open.has(conversation.id)) this.#keep(conversation);
  }

  running(id: string): boolean {
    return Boolean(this.#open.get(id)?.running);
  }

  /** Begins to listen for an account, until the returned function is called. */
  start(owner: string): () => void {
    if (this.owner !== '' && this.owner !== owner) this.forget();
    this.owner = owner;
    const stop = new AbortController();
    const leave = () => this.#leave();
    addEventListener('pagehide', leave, { signal: stop.signal });
    for (const conversation of this.#open.values()) conversation.retry();
    void this.list.load().then(async () => {
      if (this.list.keeping === 'tab' || stop.signal.aborted) return this.#adopt();
      await this.#move();
      await this.#listen(stop.signal);
    });
    return () => stop.abort();
  }

  /** Tries again whatever has failed. */
  async retry(): Promise<void> {
    for (const conversation of this.#open.values()) conversation.retry();
    await this.list.load();
    if (this.list.keeping === 'box') await this.#move();
  }

  /** Deletes it after a while in which that can be taken back. */
  remove(id: string, title: string): void {
    this.#finishRemoval();
    this.#open.get(id)?.stop();
    this.removing = { id, title };
    this.#removal = setTimeout(() => this.#finishRemoval(), UNDO_MS);
  }

  undo(): void {
    clearTimeout(this.#removal);
    this.removing = null;
  }

  async removeAll(): Promise<void> {
    this.undo();
    for (const conversation of this.#open.values()) conversation.close();
    if (this.list.keeping === 'box') await conversationApi.removeAll();
    this.#clear();
    await this.list.load();
  }

  /** Ends what is running and sends what is not sent; returns how many conversations are in this tab only. */
  async settle(): Promise<number> {
    this.#finishRemoval();
    for (const conversation of this.#open.values()) {
      conversation.stop();
      conversation.retry();
    }
    const until = Date.now() + SETTLE_MS;
    const unkept = () => [...this.#open.values()].filter((conversation) => conversation.unkept).length;
    while (unkept() > 0 && this.list.keeping === 'box' && Date.now() < until) await new Promise((done) => setTimeout(done, 50));
    return unkept();
  }

  /** Leaves nothing of an account in this browser. */
  forget(): void {
    for (const conversation of this.#open.values()) conversation.close();
    clearTimeout(this.#removal);
    this.#clear();
    this.list.reset();
    this.removing = null;
    this.owner = '';
    forgetDrafts();
    attempt(() => forgetAll(localStorage));
  }

  #clear(): void {
    this.#open.clear();
    this.list.clear();
    this.unmoved = null;
  }

  #make(id: string, kind: Kind): Conversation {
    return new Conversation(
      id,
      kind,
      () => this.list.keeping !== 'tab',
      () => attempt(() => forget(localStorage, id)),
    );
  }

  /** Opens it; those that were opened first and have nothing left to do make room. */
  #keep(conversation: Conversation): void {
    for (const [id, other] of this.#open) {
      if (this.#open.size < OPEN) break;
      if (!other.running && !other.unkept) this.#open.delete(id);
    }
    this.#open.set(conversation.id, conversation);
  }

  #finishRemoval(): void {
    clearTimeout(this.#removal);
    const removed = this.removing;
    if (!removed) return;
    this.removing = null;
    this.list.drop(removed.id);
    this.#open.get(removed.id)?.close();
    this.#open.delete(removed.id);
    attempt(() => forget(localStorage, removed.id));
    if (this.list.keeping !== 'box') return;
    conversationApi.remove(removed.id).catch((cause) => {
      if (cause instanceof ApiError && cause.status === 404) return;
      this.list.failure = cause;
      void this.list.load();
    });
  }

  /** The page goes away. */
  #leave(): void {
    for (const conversation of this.#open.values()) conversation.leave();
    if (this.removing && this.list.keeping === 'box') {
      conversationApi.remove(this.removing.id, { keepalive: true }).catch(() => undefined);
    }
  }

  /** Moves what an older version kept here; what cannot be moved is shown all the same. */
  async #move(): Promise<void> {
    try {
      const send = async ({ id, details, turns }: Moved) => {
        await conversationApi.put(id, details);
        for (const turn of turns) await conversationApi.putTurn(id, turn.id, turn.content);
        this.#open.get(id)?.moved();
      };
      const work = () => move(localStorage, send);
      // Two tabs do not do it at the same time.
      await (navigator.locks ? navigator.locks.request('actionbooster.chats', work) : work());
      this.unmoved = null;
    } catch (cause) {
      this.unmoved = cause;
      this.#adopt();
    }
  }

  #adopt(): void {
    attempt(() => {
      for (const { id, details, turns } of remaining(localStorage)) {
        if (this.#open.has(id)) continue;
        const conversation = this.#make(id, details.kind);
        conversation.adopt(details, turns);
        this.#open.set(id, conversation);
      }
    });
  }

  async #listen(signal: AbortSignal): Promise<void> {
    let pause = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      try {
        const opened = () => {
          pause = FIRST_PAUSE_MS;
          this.#catchUp();
        };
        for await (const change of conversationApi.changes(signal, opened)) this.#hear(change);
      } catch {
        // A connection that ends is made again; what is asked for meanwhile tells its own failure.
      }
      if (signal.aborted) return;
      await new Promise<void>((resolve) => {
        setTimeout(resolve, pause);
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
      pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
    }
  }

  #hear(change: Change): void {
    if (change === 'missed') return this.#catchUp();
    if (change === 'all removed') {
      this.list.clear();
      for (const conversation of this.#open.values()) if (!conversation.unkept) conversation.gone = true;
    } else if (change.removed) {
      this.list.drop(change.id);
      const conversation = this.#open.get(change.id);
      if (conversation) conversation.gone = true;
    } else {
      void this.#open.get(change.id)?.refresh();
    }
    this.list.soon();
  }

  /** What changed while nobody listened. */
  #catchUp(): void {
    void this.list.load();
    if (this.unmoved) void this.#move();
    for (const conversation of this.#open.values()) if (!conversation.unkept) void conversation.refresh();
  }
}

function rowOf({ id, kind, title, models, turns }: Conversation): Listed {
  return { id, kind, title, models, created: '', updated: '', turns: turns.length, excerpt: null };
}

/** A browser that keeps nothing still has conversations with the box. */
function attempt(work: () => void): void {
  try {
    work();
  } catch {
    // Nothing was kept here.
  }
}

export const conversations = new Conversations();
