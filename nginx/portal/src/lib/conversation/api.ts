/** The conversations' paths of the box. */
import { call, stream, tell } from '../api';
import { events } from '../sse';
import { contentOf, searchable, type Content, type Kind, type Turn } from './turn';

/** A change that the box does not confirm for so long is sent again. */
const LIMIT_MS = 30_000;
const PAGE = 40;
/** Names of models that the box takes of one conversation. */
const MODELS = 32;

/** What a list shows of a conversation. */
export interface Listed {
  id: string;
  kind: Kind;
  title: string;
  models: string[];
  created: string;
  updated: string;
  turns: number;
  /** The place that a search found. */
  excerpt: string | null;
}

export interface Page {
  conversations: Listed[];
  next: string | null;
}

/** What a conversation is besides its turns. */
export interface Details {
  kind: Kind;
  title: string;
  models: string[];
  system: string;
}

const ALL = '/api/v1/conversations';
const path = (id: string) => `${ALL}/${encodeURIComponent(id)}`;
const turnPath = (id: string, turn: string) => `${path(id)}/turns/${encodeURIComponent(turn)}`;
const limited = () => ({ signal: AbortSignal.timeout(LIMIT_MS) });

export const conversationApi = {
  list: (query: string, before: string | null, limit = PAGE) => {
    const wanted = new URLSearchParams({ limit: String(limit) });
    if (query !== '') wanted.set('q', query);
    if (before) wanted.set('before', before);
    return call<Page>('GET', `${ALL}?${wanted}`, undefined, limited());
  },
  read: async (id: string): Promise<{ details: Details; turns: Turn[] }> => {
    const kept = await call<Details & { turns: { id: string; content: unknown }[] }>('GET', path(id), undefined, limited());
    const turns = kept.turns.flatMap((turn) => {
      const content = contentOf(turn.content);
      return content ? [{ id: turn.id, content }] : [];
    });
    const { kind, title, models } = kept;
    return { details: { kind, title, models: models ?? [], system: kept.system ?? '' }, turns };
  },
  put: (id: string, details: Partial<Details>) => {
    const models = details.models && { models: details.models.slice(0, MODELS) };
    return tell('PUT', path(id), { ...details, ...models }, limited());
  },
  putTurn: (id: string, turn: string, content: Content, init: RequestInit = limited()) =>
    tell('PUT', turnPath(id, turn), { content, text: searchable(content) }, init),
  removeTurn: (id: string, turn: string) => tell('DELETE', turnPath(id, turn), undefined, limited()),
  remove: (id: string, init: RequestInit = limited()) => tell('DELETE', path(id), undefined, init),
  removeAll: () => tell('DELETE', ALL, undefined, limited()),
  /** All of them as one file, for the `href` of a link. */
  exported: `${ALL}/export`,
  changes,
};

/** What was told of a conversation, or of all of them. */
export type Change = { kind: 'changed' | 'removed'; id: string } | { kind: 'cleared' };

/** What changes, until the connection ends. `onopen` is called when it is told, and when some of it was missed. */
async function* changes(signal: AbortSignal, onopen: () => void): AsyncGenerator<Change> {
  const body = await stream('GET', '/api/v1/events', undefined, signal);
  onopen();
  for await (const { event, data } of events(body)) {
    if (event === 'missed') onopen();
    const change = changeOf(event, data);
    if (change) yield change;
  }
}

/** One event; null for those about something else. */
export function changeOf(event: string, data: string): Change | null {
  if (event !== 'conversation.changed' && event !== 'conversation.removed') return null;
  const { id } = JSON.parse(data) as { id?: unknown };
  // All of the account.
  if (event === 'conversation.removed' && id === null) return { kind: 'cleared' };
  return typeof id === 'string' ? { kind: event === 'conversation.changed' ? 'changed' : 'removed', id } : null;
}
