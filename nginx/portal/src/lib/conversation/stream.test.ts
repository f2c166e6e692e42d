import { afterEach, describe, expect, it, vi } from 'vitest';
import { ApiError } from '../api';
import { chunks } from './fake-box';
import { ask, chat, queryEvent, type AnswerEvent } from './stream';

function answering(body: ReadableStream<Uint8Array> | string, status = 200): void {
  const type = status === 200 ? 'text/event-stream' : 'application/problem+json';
  vi.stubGlobal('fetch', async () => new Response(body, { status, headers: { 'content-type': type } }));
}

async function all(events: AsyncGenerator<AnswerEvent>): Promise<AnswerEvent[]> {
  const seen = [];
  for await (const event of events) seen.push(event);
  return seen;
}

const never = new AbortController().signal;
const sse = (events: [string, unknown][]) =>
  events.map(([event, data]) => `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`).join('');

afterEach(() => void vi.unstubAllGlobals());

describe('the stream of a chat', () => {
  it('tells text, thoughts, tokens and a limit that was reached', async () => {
    const data = [
      { choices: [{ delta: { reasoning_content: 'Hm.' } }] },
      { choices: [{ delta: { content: 'Yes' } }] },
      { choices: [{ delta: {}, finish_reason: 'length' }] },
      { choices: [], usage: { completion_tokens: 7 } },
    ];
    answering([...data.map((one) => JSON.stringify(one)), '[DONE]'].map((one) => `data: ${one}\n\n`).join(''));
    const events = await all(chat('m', [], never));
    expect(events.slice(0, 2)).toEqual([
      { kind: 'reasoning', model: 'm', text: 'Hm.' },
      { kind: 'text', model: 'm', text: 'Yes' },
    ]);
    expect(events[2]).toMatchObject({ kind: 'ending', ending: { full: true, generated_tokens: 7, error: null } });
  });

  it('that ends without its end has broken off', async () => {
    answering('data: {"choices":[{"delta":{"content":"Ye"}}]}\n\n');
    await expect(all(chat('m', [], never))).rejects.toMatchObject({ status: 0, kind: 'interrupted' });
  });

  it('that tells an error fails with it', async () => {
    answering('data: {"error":{"code":"context_length_exceeded","message":"too long"}}\n\n');
    await expect(all(chat('m', [], never))).rejects.toMatchObject({ kind: 'context_length_exceeded' });
  });

  it('that is stopped is not taken for broken off', async () => {
    const abort = new AbortController();
    answering(chunks(['Ye'], abort.signal));
    const events = chat('m', [], abort.signal);
    await events.next();
    abort.abort();
    await expect(events.next()).rejects.not.toBeInstanceOf(ApiError);
  });
});

describe('the stream of a question to several models', () => {
  it('tells the plan, the answers and what the summary is made of', async () => {
    const summary = {
      text: 'Yes.',
      model: 'a',
      method: 'manual',
      points: [{ text: 'Yes.', models: ['a', 'b'] }],
      left_out: [{ model: 'c', reason: 'declined' }],
    };
    answering(
      sse([
        ['start', { id: 'q', models: ['a', 'b', 'c'], plan: { order: 'sequential', estimate_s: 12.5 } }],
        ['token', { model: 'a', text: 'Y' }],
        ['reasoning', { model: 'b', text: 'hm' }],
        ['answer', { model: 'a', text: 'Yes', error: null, finish_reason: 'length', generated_tokens: 1, duration_ms: 2 }],
        ['summary', summary],
        ['something new', {}],
        ['done', {}],
      ]),
    );
    expect(await all(ask('?', ['a', 'b', 'c'], never))).toEqual([
      { kind: 'start', models: ['a', 'b', 'c'], plan: { order: 'sequential', estimate_s: 12.5 } },
      { kind: 'text', model: 'a', text: 'Y' },
      { kind: 'reasoning', model: 'b', text: 'hm' },
      { kind: 'ending', ending: { model: 'a', text: 'Yes', error: null, full: true, generated_tokens: 1, duration_ms: 2 } },
      { kind: 'summary', summary },
    ]);
  });

  it('of a box that tells neither plan nor points is read as well', () => {
    expect(queryEvent('start', '{"models":["a"]}')).toEqual({ kind: 'start', models: ['a'], plan: null });
    expect(queryEvent('summary', '{"text":"Yes","model":null,"method":"extractive"}')).toEqual({
      kind: 'summary',
      summary: { text: 'Yes', model: null, method: 'extractive' },
    });
  });

  it('that ends with an error in the place of a summary fails with its problem', async () => {
    answering(sse([['start', { models: ['a'] }], ['error', { type: 'too-long', status: 422, detail: 'x' }], ['done', {}]]));
    await expect(all(ask('?', ['a'], never))).rejects.toMatchObject({ status: 422, kind: 'too-long' });
  });
});
