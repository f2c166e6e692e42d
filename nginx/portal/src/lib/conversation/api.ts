/** The conversations' paths of the box. */
import { call, stream, tell } from '../api';
import { events } from '../sse';
import { contentOf, searchable, type Content, type Kind, type Turn } from './turn';

/** A change that the box does not confirm for so long is sent again. */
const LIMIT_MS = 30_000;
const PAGE = 40;

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
  put: (id: string, details: Partial<Details>) => tell('PUT', path(id), details, limited()),
  putTurn: (id: string, turn: string, content: Content, init: RequestInit = limited()) =>
    tell('PUT', turnPath(id, turn), { content, text: searchable(content) }, init),
  removeTurn: (id: string, turn: string) => tell('DELETE', turnPath(id, turn), undefined, limited()),
  remove: (id: string, init: RequestInit = limited()) => tell('DELETE', path(id), undefined, init),
  removeAll: () => tell('DELETE', ALL, undefined, limited()),
  /** All of them as one file, for the `href` of a link. */
  exported: `${ALL}/export`,
  changes,
};

/** What changes: one conversation, all of them deleted, or (missed) whatever it was that was not heard. */
export type Change = { id: string; removed: boolean } | 'all removed' | 'missed';

/** What changes, until the connection ends. `onopen` is called when the box listens. */
async function* changes(signal: AbortSignal, onopen: () => void): AsyncGenerator<Change> {
  const body = await stream('GET', '/api/v1/events', undefined, signal);
  onopen();
  for await (const { event, data } of events(body)) {
    if (event === 'missed') yield 'missed';
    if (event !== 'conversation.changed' && event !== 'conversation.removed') continue;
    const removed = event === 'conversation.removed';
    const { conversation, id } = JSON.parse(data) as { conversation?: unknown; id?: unknown };
    const changed = [conversation, id].find((value) => typeof value === 'string');
    if (typeof changed === 'string') yield { id: changed, removed };
    else if (removed) yield 'all removed';
  }
}
