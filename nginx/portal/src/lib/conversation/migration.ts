/** Conversations that an older version kept in this browser are moved to the box once. */
import { ApiError } from '../api';
import type { Details } from './api';
import { final } from './outbox';
import { titleOf, type Content, type Turn } from './turn';

const STORED = 'actionbooster.chats';
const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** What the older version kept. */
interface Old {
  id: string;
  title?: unknown;
  model?: unknown;
  turns: { role?: unknown; content?: unknown; reasoning?: unknown; cut?: unknown }[];
}

export interface Moved {
  id: string;
  details: Details;
  turns: Turn[];
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '');

/** What is kept still, newest first; what cannot be read is not a conversation. */
export function parse(stored: string | null): Old[] {
  try {
    const chats: unknown = JSON.parse(stored ?? '[]');
    if (!Array.isArray(chats)) return [];
    return chats.filter((chat): chat is Old => typeof chat?.id === 'string' && UUID.test(chat.id) && Array.isArray(chat.turns));
  } catch {
    return [];
  }
}

/** The ids of its turns are made of the conversation's, so that moving it twice changes nothing. */
export function converted(old: Old): Moved {
  const model = text(old.model);
  const turns = old.turns.map((turn, index): Turn => {
    const said = text(turn.content);
    const id = `${old.id.slice(0, 24)}${index.toString(16).padStart(12, '0')}`;
    if (turn.role === 'user') return { id, content: { role: 'user', text: said } };
    const reasoning = text(turn.reasoning);
    const content: Content = {
      role: 'assistant',
      replies: [
        { model, name: model, text: said, state: turn.cut ? 'stopped' : 'answered', ...(reasoning ? { reasoning } : {}) },
      ],
    };
    return { id, content };
  });
  const asked = turns.find(({ content }) => content.role === 'user')?.content;
  const title = text(old.title) || (asked?.role === 'user' ? titleOf(asked.text) : '') || old.id;
  return { id: old.id, details: { kind: 'chat', title, models: model ? [model] : [], system: '' }, turns };
}

/** Where the older version kept them. */
export interface Store {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
  removeItem(key: string): void;
}

/** Those that are here still. */
export function remaining(store: Store): Moved[] {
  return parse(store.getItem(STORED)).map(converted);
}

/** Removes one that the box has now; the last takes the whole entry along. */
export function forget(store: Store, id: string): void {
  const rest = parse(store.getItem(STORED)).filter((old) => old.id !== id);
  if (rest.length === 0) store.removeItem(STORED);
  else store.setItem(STORED, JSON.stringify(rest));
}

/** Removes all of them, whether the box has them or not. */
export function forgetAll(store: Store): void {
  store.removeItem(STORED);
}

/**
 * Moves them, the oldest first, so that the newest is at the top there too. Each is removed here only
 * when the box has the whole of it. One that the box refuses for good stays and does not hold up the
 * others; any other failure ends it. Fails with the first reason when something stayed.
 */
export async function move(store: Store, send: (moved: Moved) => Promise<void>): Promise<void> {
  let refused: unknown = null;
  for (const moved of remaining(store).reverse()) {
    try {
      await send(moved);
      forget(store, moved.id);
    } catch (cause) {
      if (!final(cause) || (cause instanceof ApiError && cause.status === 404)) throw cause;
      refused ??= cause;
    }
  }
  if (refused) throw refused;
}
