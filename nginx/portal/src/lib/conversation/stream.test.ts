import { afterEach, describe, expect, it, vi } from 'vitest';
import { ApiError } from '../api';
import { ask, chat, type AnswerEvent } from './stream';
import type { Answer } from './turn';
import { Writer, type News } from './writer';

afterEach(() => void vi.unstubAllGlobals());

function answers(text: string): void {
  vi.stubGlobal('fetch', async () => new Response(text, { headers: { 'content-type': 'text/event-stream' } }));
}

async function all(events: AsyncIterable<AnswerEvent>): Promise<AnswerEvent[]> {
  const seen: AnswerEvent[] = [];
  for await (const event of events) seen.push(event);
  return seen;
}

const never = new AbortController().signal;
const chunk = (value: unknown) => `data: ${JSON.stringify(value)}\n\n`;
const delta = (value: unknown, finish_reason: string | null = null) => chunk({ choices: [{ delta: value, finish_reason }] });

describe('a chat', () => {
  it('tells thoughts, text, why it ended and how much it was', async () => {
    const usage = chunk({ choices: [], usage: { completion_tokens: 7 } });
    answers(`${delta({ reasoning_content: 'hm' })}${delta({ content: 'yes' })}${delta({}, 'length')}${usage}data: [DONE]\n\n`);
    const seen = await all(chat('m', [{ role: 'user', content: 'q' }], never));
    expect(seen).toMatchObject([
      { kind: 'reasoning', text: 'hm' },
      { kind: 'text', model: 'm', text: 'yes' },
      { kind: 'ending', ending: { model: 'm', full: true, generated_tokens: 7, error: null } },
    ]);
  });

  it('that ends without its end has been interrupted', async () => {
    answers(delta({ content: 'half' }));
    await expect(all(chat('m', [], never))).rejects.toMatchObject({ status: 0, kind: 'interrupted' });
  });

  it('fails with the error that comes in the middle', async () => {
    answers(delta({ content: 'half' }) + chunk({ error: { code: 'engine-failed', message: 'gone' } }));
    await expect(all(chat('m', [], never))).rejects.toMatchObject({ kind: 'engine-failed', message: 'gone' });
  });
});

describe('a question to several models', () => {
  it('is written into one answer, in which each keeps its own', async () => {
    const event = (name: string, value: unknown) => `event: ${name}\n${chunk(value)}`;
    answers(
      event('start', { id: 'x', models: ['a', 'b'] }) +
        event('token', { model: 'b', text: 'B1' }) +
        event('token', { model: 'a', text: 'A1' }) +
        event('unknown', {}) +
        event('token', { model: 'b', text: 'B2' }) +
        event('answer', { model: 'a', text: null, error: { status: 500, detail: 'broken' } }) +
        event('answer', { model: 'b', text: 'B1B2.', error: null, generated_tokens: 3, duration_ms: 1500 }) +
        event('summary_token', { text: 'S' }) +
        event('summary', { text: 'Sum', model: 'b', method: 'model' }) +
        event('done', {}),
    );
    const answer: Answer = { role: 'assistant', replies: [] };
    const news: News[] = [];
    const writer = new Writer(answer, (model) => model.toUpperCase(), (one) => news.push(one));
    for await (const next of ask('q', ['a', 'b'], never)) writer.take(next);
    expect(answer.replies).toEqual([
      { model: 'a', name: 'A', text: 'A1', state: 'failed', error: { status: 500, detail: 'broken' } },
      { model: 'b', name: 'B', text: 'B1B2.', state: 'answered', tokens: 3, seconds: 1.5 },
    ]);
    expect(answer.summary).toEqual({ text: 'Sum', model: 'b', method: 'model' });
    expect(news.map(({ kind }) => kind)).toEqual(['failed', 'answered', 'summary']);
  });

  it('fails when its end does not come', async () => {
    answers('event: start\ndata: {"id":"x","models":["a"]}\n\n');
    await expect(all(ask('q', ['a'], never))).rejects.toBeInstanceOf(ApiError);
  });
});

it('text is drawn in batches, however small its pieces', () => {
  vi.useFakeTimers();
  const answer: Answer = { role: 'assistant', replies: [{ model: 'm', name: 'm', text: '', state: 'waiting' }] };
  const writer = new Writer(answer, (model) => model);
  for (const text of 'abcdef') writer.take({ kind: 'text', model: 'm', text });
  expect(answer.replies[0]!.text).toBe('');
  vi.advanceTimersByTime(40);
  expect(answer.replies[0]).toMatchObject({ text: 'abcdef', state: 'writing' });
  vi.useRealTimers();
});
