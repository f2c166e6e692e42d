/** What models say, as it comes: one shape of events for both kinds of conversation. */
import { ApiError, stream, type Problem } from '../api';
import { events, type SseEvent } from '../sse';
import type { Message, Summary } from './turn';

/** How one model ended. */
export interface Ending {
  model: string;
  /** The whole text, if it is told once more. */
  text: string | null;
  error: string | Problem | null;
  generated_tokens: number | null;
  duration_ms: number | null;
  /** It reached the most that an answer may have. */
  full?: boolean;
}

export type AnswerEvent =
  | { kind: 'start'; models: string[] }
  | { kind: 'text' | 'reasoning'; model: string; text: string }
  | { kind: 'ending'; ending: Ending }
  | { kind: 'summary_text'; text: string }
  | { kind: 'summary'; summary: Summary };

/** Goes on with a conversation. Fails when the answer breaks off. */
export async function* chat(model: string, messages: Message[], signal: AbortSignal): AsyncGenerator<AnswerEvent> {
  const began = performance.now();
  const body = { model, messages, stream: true, stream_options: { include_usage: true } };
  const ending: Ending = { model, text: null, error: null, generated_tokens: null, duration_ms: null };
  for await (const { data } of whole(await stream('POST', '/v1/chat/completions', body, signal), signal)) {
    if (data === '[DONE]') {
      yield { kind: 'ending', ending: { ...ending, duration_ms: performance.now() - began } };
      return;
    }
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(500, { type: chunk.error.code, detail: chunk.error.message });
    const choice = chunk.choices?.[0];
    if (choice?.delta?.reasoning_content) yield { kind: 'reasoning', model, text: choice.delta.reasoning_content };
    if (choice?.delta?.content) yield { kind: 'text', model, text: choice.delta.content };
    if (choice?.finish_reason === 'length') ending.full = true;
    if (typeof chunk.usage?.completion_tokens === 'number') ending.generated_tokens = chunk.usage.completion_tokens;
  }
  throw new ApiError(0, { type: 'interrupted' });
}

/** Puts one question to several models. Fails when the answers break off. */
export async function* ask(prompt: string, models: string[], signal: AbortSignal): AsyncGenerator<AnswerEvent> {
  const body = await stream('POST', '/query', { prompt, models, stream: true }, signal);
  for await (const { event, data } of whole(body, signal)) {
    if (event === 'done') return;
    const next = queryEvent(event, data);
    if (next) yield next;
  }
  throw new ApiError(0, { type: 'interrupted' });
}

/** The events of a body; what the network breaks is told as such. */
async function* whole(body: ReadableStream<Uint8Array>, signal: AbortSignal): AsyncGenerator<SseEvent> {
  try {
    yield* events(body);
  } catch (cause) {
    if (cause instanceof ApiError || signal.aborted) throw cause;
    throw new ApiError(0, { type: 'interrupted' });
  }
}

/** One event of `/query`; null for a kind this version does not know. */
export function queryEvent(event: string, data: string): AnswerEvent | null {
  const value = JSON.parse(data);
  switch (event) {
    case 'start':
      return { kind: 'start', models: value.models };
    case 'token':
      return { kind: 'text', model: value.model, text: value.text };
    case 'answer':
      return { kind: 'ending', ending: value };
    case 'summary_token':
      return { kind: 'summary_text', text: value.text };
    case 'summary':
      return { kind: 'summary', summary: { text: value.text, model: value.model, method: value.method } };
    case 'error': {
      const problem: Problem = value.problem ?? value;
      throw new ApiError(problem.status ?? 500, problem);
    }
    default:
      return null;
  }
}
