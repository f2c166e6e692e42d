/** Conversations, kept in this browser only. */
import { api, type Turn } from './api';

const STORED = 'actionbooster.chats';
/** Conversations and characters that are kept; the oldest go first. */
const MOST = 50;
const MOST_CHARACTERS = 2_000_000;
const TITLE = 48;

export interface Said extends Turn {
  reasoning?: string;
  /** Cut by the reader, or broken off. */
  cut?: boolean;
}

export interface Chat {
  id: string;
  title: string;
  model: string;
  turns: Said[];
}

/** What fits, newest first. */
export function within(chats: Chat[]): Chat[] {
  const kept: Chat[] = [];
  let characters = 0;
  for (const chat of chats.slice(0, MOST)) {
    characters += JSON.stringify(chat).length;
    if (kept.length > 0 && characters > MOST_CHARACTERS) break;
    kept.push(chat);
  }
  return kept;
}

/** A short name made of the first question. */
export function titleOf(question: string): string {
  const line = question.trim().replace(/\s+/g, ' ');
  return line.length > TITLE ? `${line.slice(0, TITLE - 1).trimEnd()}…` : line;
}

/** What was stored, or nothing if it cannot be read. */
export function parse(stored: string | null): Chat[] {
  try {
    const chats: unknown = JSON.parse(stored ?? '[]');
    if (!Array.isArray(chats)) return [];
    return chats.filter((chat): chat is Chat => typeof chat?.id === 'string' && Array.isArray(chat.turns));
  } catch {
    return [];
  }
}

class Chats {
  list = $state<Chat[]>([]);
  current = $state<string | null>(null);
  running = $state(false);
  failure = $state<unknown>(null);
  #abort: AbortController | null = null;

  get chat(): Chat | undefined {
    return this.list.find(({ id }) => id === this.current);
  }

  open(): void {
    if (this.list.length > 0) return;
    try {
      this.list = parse(localStorage.getItem(STORED));
    } catch {
      // A browser that keeps nothing still talks.
    }
  }

  rename(id: string, title: string): void {
    const chat = this.list.find((other) => other.id === id);
    if (chat && title.trim() !== '') chat.title = title.trim();
    this.#keep();
  }

  remove(id: string): void {
    if (this.current === id) {
      this.stop();
      this.current = null;
    }
    this.list = this.list.filter((chat) => chat.id !== id);
    this.#keep();
  }

  stop(): void {
    this.#abort?.abort();
  }

  async say(model: string, question: string): Promise<void> {
    let chat = this.chat;
    if (!chat) {
      this.list.unshift({ id: crypto.randomUUID(), title: titleOf(question), model, turns: [] });
      chat = this.list[0]!;
      this.current = chat.id;
    }
    chat.model = model;
    chat.turns.push({ role: 'user', content: question });
    const asked: Turn[] = chat.turns.map(({ role, content }) => ({ role, content }));
    chat.turns.push({ role: 'assistant', content: '' });
    const answer = chat.turns[chat.turns.length - 1]!;
    this.#abort = new AbortController();
    this.running = true;
    this.failure = null;
    try {
      for await (const event of api.chat(model, asked, this.#abort.signal)) {
        if (event.kind === 'text') answer.content += event.text;
        else answer.reasoning = (answer.reasoning ?? '') + event.text;
      }
    } catch (cause) {
      answer.cut = true;
      if (!this.#abort.signal.aborted) this.failure = cause;
      if (answer.content === '' && !answer.reasoning) chat.turns.pop();
    } finally {
      this.running = false;
      this.#keep();
    }
  }

  #keep(): void {
    try {
      localStorage.setItem(STORED, JSON.stringify(within(this.list)));
    } catch {
      // Full or forbidden: the conversation lives as long as the page.
    }
  }
}

export const chats = new Chats();
