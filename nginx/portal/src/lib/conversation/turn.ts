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

/** Something that is said, and which models say it. */
export interface Point {
  text: string;
  models: string[];
}

/** A model whose answer is no part of the summary: `failed`, `declined`, `empty` or `loops`. */
export interface LeftOut {
  model: string;
  reason: string;
}

export interface Summary {
  text: string;
  model: string | null;
  /** How it was made: `model`, `single`, `extractive`, `manual` or `declined`. */
  method: string | null;
  points?: Point[];
  left_out?: LeftOut[];
}

/** What the box told before the models began. */
export interface Plan {
  order: string;
  estimate_s: number | null;
}

export interface Question {
  role: 'user';
  text: string;
}

export interface Answer {
  role: 'assistant';
  replies: Reply[];
  /** The turn that it answers. */
  question?: string;
  plan?: Plan;
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
/** Points of a summary that are kept. */
const POINTS = 60;
/** Characters of a turn that the search of the box looks through. */
const SEARCHED = 200_000;
const STATES: readonly ReplyState[] = ['waiting', 'writing', 'answered', 'failed', 'stopped'];

/** The beginning of a text; no character is cut in two, which is no text to the box. */
export function cut(text: string, most: number): string {
  return text.slice(0, most).replace(/[\uD800-\uDBFF]$/, '');
}

/** A short name made of the first question. */
export function titleOf(question: string): string {
  const line = question.trim().replace(/\s+/g, ' ');
  return line.length > TITLE ? `${cut(line, TITLE - 1).trimEnd()}…` : line;
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
  if (text(value.question)) answer.question = text(value.question);
  const plan = planOf(value.plan);
  if (plan) answer.plan = plan;
  const summary = summaryOf(value.summary);
  if (summary) answer.summary = summary;
  if (record(value.failure)) answer.failure = value.failure as Problem;
  return answer;
}

/** A summary as the box tells it, or as it was kept. */
export function summaryOf(told: unknown): Summary | null {
  const value = record(told);
  if (!value) return null;
  const summary: Summary = { text: text(value.text), model: text(value.model) || null, method: text(value.method) || null };
  const points = list(value.points).map(({ text: said, models }) => ({ text: text(said), models: names(models) }));
  if (points.length > 0) summary.points = points.slice(0, POINTS);
  const leftOut = list(value.left_out).map(({ model, reason }) => ({ model: text(model), reason: text(reason) }));
  if (leftOut.length > 0) summary.left_out = leftOut;
  return summary;
}

/** A plan as the box tells it, or as it was kept. */
export function planOf(told: unknown): Plan | null {
  const value = record(told);
  if (!value) return null;
  return { order: text(value.order), estimate_s: typeof value.estimate_s === 'number' ? value.estimate_s : null };
}

const list = (value: unknown): Record<string, unknown>[] =>
  Array.isArray(value) ? value.map(record).filter((one) => one !== null) : [];
const names = (value: unknown): string[] => (Array.isArray(value) ? value.map(text).filter(Boolean) : []);

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
  return cut(parts.filter(Boolean).join('\n\n'), SEARCHED);
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
