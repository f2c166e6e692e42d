/** Conversations as the box keeps them, and what is made of their turns. */
import type { Problem } from '../api';

/** With one model that reads what was said before, or with several that answer each question by itself. */
export type Kind = 'chat' | 'ask';

export type ReplyState = 'waiting' | 'writing' | 'answered' | 'failed' | 'stopped';

/** What one model says to one question. Its name is kept: the model may be gone when it is read again. */
export interface Reply {
  model: string;
  name: string;
  text: string;
  state: ReplyState;
  reasoning?: string;
  error?: Problem | string;
  tokens?: number;
  seconds?: number;
  /** The answer ended because it reached the most that it may have. */
  full?: boolean;
}

export interface Summary {
  text: string;
  model: string | null;
  method: string | null;
}

export interface Question {
  role: 'user';
  text: string;
}

export interface Answer {
  role: 'assistant';
  replies: Reply[];
  summary?: Summary;
  /** Why the whole of it broke off. */
  failure?: Problem;
}

export type Content = Question | Answer;

export interface Turn {
  id: string;
  content: Content;
}

/** A message as models read it. */
export interface Message {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

const TITLE = 48;
/** Characters of a turn that the search of the box looks through. */
const SEARCHED = 200_000;
const STATES: readonly ReplyState[] = ['waiting', 'writing', 'answered', 'failed', 'stopped'];

/** A short name made of the first question. */
export function titleOf(question: string): string {
  const line = question.trim().replace(/\s+/g, ' ');
  return line.length > TITLE ? `${line.slice(0, TITLE - 1).trimEnd()}…` : line;
}

const record = (value: unknown): Record<string, unknown> | null =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
const text = (value: unknown): string => (typeof value === 'string' ? value : '');

/** What the box kept of a turn; null when another version of the portal wrote it in a way unknown here. */
export function contentOf(kept: unknown): Content | null {
  const value = record(kept);
  if (value?.role === 'user') return { role: 'user', text: text(value.text) };
  if (value?.role !== 'assistant' || !Array.isArray(value.replies)) return null;
  const answer: Answer = { role: 'assistant', replies: value.replies.map(replyOf) };
  const summary = record(value.summary);
  if (summary) {
    const { model, method } = summary;
    answer.summary = { text: text(summary.text), model: text(model) || null, method: text(method) || null };
  }
  if (record(value.failure)) answer.failure = value.failure as Problem;
  return answer;
}

function replyOf(kept: unknown): Reply {
  const value = record(kept) ?? {};
  const state = STATES.find((known) => known === value.state) ?? 'stopped';
  const reply: Reply = { model: text(value.model), name: text(value.name) || text(value.model), text: text(value.text), state };
  if (text(value.reasoning)) reply.reasoning = text(value.reasoning);
  if (typeof value.error === 'string' || record(value.error)) reply.error = value.error as Problem | string;
  if (typeof value.tokens === 'number') reply.tokens = value.tokens;
  if (typeof value.seconds === 'number') reply.seconds = value.seconds;
  if (value.full === true) reply.full = true;
  return reply;
}

/** Whether somebody is writing it still. */
export function unfinished(content: Content): boolean {
  return content.role === 'assistant' && content.replies.some(({ state }) => state === 'waiting' || state === 'writing');
}

/** Whether anything of an answer has come. */
export function begun(answer: Answer): boolean {
  return answer.replies.some((reply) => reply.text !== '' || Boolean(reply.reasoning) || reply.state === 'failed');
}

/** Ends what nobody will write on. */
export function ended(answer: Answer, failure?: Problem): void {
  for (const reply of answer.replies) {
    if (reply.state === 'waiting' || reply.state === 'writing') reply.state = 'stopped';
  }
  if (failure) answer.failure = failure;
}

/** The text by which a turn is found. */
export function searchable(content: Content): string {
  const parts = content.role === 'user' ? [content.text] : [content.summary?.text ?? '', ...content.replies.map((reply) => reply.text)];
  return parts.filter(Boolean).join('\n\n').slice(0, SEARCHED);
}

/** The conversation as a model reads it: roles take turns, and answers of which nothing came are left out. */
export function messages(turns: readonly Turn[], system: string): Message[] {
  const read: Message[] = system.trim() === '' ? [] : [{ role: 'system', content: system }];
  for (const { content } of turns) {
    const said = content.role === 'user' ? content.text : (content.replies.find((reply) => reply.text !== '')?.text ?? '');
    if (said === '') continue;
    const last = read.at(-1);
    if (last?.role === content.role) last.content += `\n\n${said}`;
    else read.push({ role: content.role, content: said });
  }
  return read;
}

/** A conversation as a Markdown file. */
export function markdown(title: string, turns: readonly Turn[], words: { you: string; summary: string }): string {
  const parts = [`# ${title}`];
  for (const { content } of turns) {
    if (content.role === 'user') {
      parts.push(`## ${words.you}`, content.text);
      continue;
    }
    if (content.summary?.text && content.replies.length > 1) parts.push(`## ${words.summary}`, content.summary.text);
    for (const reply of content.replies) if (reply.text !== '') parts.push(`## ${reply.name}`, reply.text);
  }
  return `${parts.join('\n\n')}\n`;
}
