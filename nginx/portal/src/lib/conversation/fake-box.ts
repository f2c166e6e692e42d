/** A box for tests: it keeps conversations as the contract says, and fails when it is told to. */
import { vi } from 'vitest';
import type { Content } from './turn';

interface Kept {
  details: Record<string, unknown>;
  turns: Map<string, { content: Content; text: string }>;
}

const json = (status: number, body: unknown) =>
  new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/json' } });
const encoded = (text: string) => new TextEncoder().encode(text);
const missing = () => json(404, { type: 'conversation-not-found', status: 404 });

export class FakeBox {
  conversations = new Map<string, Kept>();
  /** What was asked of it, as `PUT /api/v1/…`, in order. */
  asked: string[] = [];
  /** Answers in its place, or fails as a network does. */
  instead: (method: string, path: string) => Response | Promise<Response> | null = () => null;
  /** What the model says to the next questions. */
  says: (signal: AbortSignal) => ReadableStream<Uint8Array> = () => chunks(['An ', 'answer.']);
  /** The messages that the model was given last. */
  read: unknown = null;
  /** Bodies of what was put into conversations, not turns. */
  told: Record<string, unknown>[] = [];
  #listeners = new Set<ReadableStreamDefaultController<Uint8Array>>();

  install(): void {
    vi.stubGlobal('fetch', (path: string, init: RequestInit) => this.#answer(String(init.method), path, init));
  }

  /** What it keeps of a conversation, the texts in order. */
  texts(id: string): string[] {
    return [...(this.conversations.get(id)?.turns.values() ?? [])].map(({ text }) => text);
  }

  /** Tells all tabs of a change. */
  tell(event: string, id: string | null): void {
    for (const listener of this.#listeners) listener.enqueue(encoded(`event: ${event}\ndata: ${JSON.stringify({ id })}\n\n`));
  }

  #rows(path: string): unknown[] {
    const query = new URLSearchParams(path.split('?')[1]).get('q') ?? '';
    return [...this.conversations]
      .filter(([id, { details }]) => [String(details.title), ...this.texts(id)].some((text) => text.includes(query)))
      .map(([id, { details, turns }]) => ({ id, updated: '', turns: turns.size, excerpt: null, ...details }));
  }

  #listen(signal: AbortSignal): Response {
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#listeners.add(controller);
        signal.addEventListener('abort', () => {
          this.#listeners.delete(controller);
          controller.error(signal.reason);
        });
      },
    });
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
  }

  async #answer(method: string, path: string, init: RequestInit): Promise<Response> {
    this.asked.push(`${method} ${path}`);
    const instead = await this.instead(method, path);
    if (instead) return instead;
    const body = typeof init.body === 'string' ? JSON.parse(init.body) : {};
    if (path === '/v1/chat/completions' || path === '/query') {
      this.read = body.messages ?? body.prompt;
      return new Response(this.says(init.signal!), { headers: { 'content-type': 'text/event-stream' } });
    }
    if (path === '/api/v1/events') return this.#listen(init.signal!);
    if (path.startsWith('/api/v1/conversations?')) return json(200, { conversations: this.#rows(path), next: null });
    const [, , , , id = '', , turn] = path.split('/');
    if (method === 'DELETE' && id === '') {
      this.conversations.clear();
      return new Response(null, { status: 204 });
    }
    const kept = this.conversations.get(id);
    if (method === 'PUT' && !turn) {
      this.told.push(body);
      this.conversations.set(id, { details: { ...kept?.details, ...body }, turns: kept?.turns ?? new Map() });
      return json(kept ? 200 : 201, {});
    }
    if (!kept) return missing();
    if (method === 'PUT') {
      kept.turns.set(turn!, body);
      return json(200, {});
    }
    if (method === 'DELETE' && turn) return kept.turns.delete(turn) ? new Response(null, { status: 204 }) : missing();
    if (method === 'DELETE') {
      this.conversations.delete(id);
      return new Response(null, { status: 204 });
    }
    const turns = [...kept.turns].map(([turn, { content }]) => ({ id: turn, content }));
    return json(200, { kind: 'chat', title: '', models: [], system: '', ...kept.details, turns });
  }
}

/** A stream of the OpenAI surface; without an end it stays open until it is aborted. */
export function chunks(pieces: string[], signal?: AbortSignal): ReadableStream<Uint8Array> {
  const event = (data: string) => encoded(`data: ${data}\n\n`);
  return new ReadableStream({
    start(controller) {
      for (const content of pieces) controller.enqueue(event(JSON.stringify({ choices: [{ delta: { content } }] })));
      if (signal) {
        signal.addEventListener('abort', () => controller.error(signal.reason));
        return;
      }
      controller.enqueue(event('[DONE]'));
      controller.close();
    },
  });
}
