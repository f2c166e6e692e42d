import { ApiError, type Model, type Problem } from '../api';
import { explain } from '../errors';
import { t } from '../i18n/index.svelte';
import { KeptConversation } from './kept.svelte';
import { ask, chat, type AnswerEvent } from './stream';
import { begun, ended, messages, titleOf, type Answer, type Turn } from './turn';
import { Writer, type News } from './writer';

/** How often an answer that is being written is kept, so that a reload loses no more than this. */
const SAVE_EVERY_MS = 3000;

/** A model as it is chosen: its name is kept with what it says. */
export type Chosen = Pick<Model, 'id' | 'name'>;

/** A conversation that goes on: asked, stopped, answered anew, changed. */
export class Conversation extends KeptConversation {
  /** What a screen reader says next. */
  news = $state('');
  #abort: AbortController | null = null;

  /** Asks, and resolves when the answer has ended. `onkept` is called when the box has the question. */
  async ask(text: string, models: Chosen[], onkept: () => void = () => undefined): Promise<void> {
    if (this.running !== null) return;
    if (this.title === '') this.title = titleOf(text);
    this.#use(models);
    this.add({ id: crypto.randomUUID(), content: { role: 'user', text } }, onkept);
    await this.#answer(this.add(newAnswer()), models);
  }

  /** Has an answer written anew in its place; a question without one gets it. */
  async again(turn: string, models: Chosen[]): Promise<void> {
    const known = this.turns.find(({ id }) => id === turn);
    if (this.running !== null || !known) return;
    this.#use(models);
    await this.#answer(known.content.role === 'assistant' ? known : this.add(newAnswer()), models, true);
  }

  /** The turns that go when a question is changed, besides its answer. */
  after(turn: string): Turn[] {
    if (this.kind === 'ask') return [];
    const at = this.turns.findIndex(({ id }) => id === turn);
    const next = this.turns[at + 1]?.content.role === 'assistant' ? 2 : 1;
    return at < 0 ? [] : this.turns.slice(at + next);
  }

  /** Changes a question and has it answered; what followed in the same conversation no longer fits and goes. */
  async edit(turn: string, text: string, models: Chosen[]): Promise<void> {
    const at = this.turns.findIndex(({ id }) => id === turn);
    const question = this.turns[at];
    if (this.running !== null || question?.content.role !== 'user') return;
    this.#use(models);
    this.remove(this.after(turn));
    question.content.text = text;
    this.save(question.id);
    const next = this.turns[at + 1];
    await this.#answer(next?.content.role === 'assistant' ? next : this.add(newAnswer()), models);
  }

  stop(): void {
    this.#abort?.abort();
  }

  /** Ends all that it does, and sends nothing more. */
  override close(): void {
    super.close();
    this.stop();
  }

  async #answer(turn: Turn, models: Chosen[], restore = false): Promise<void> {
    const before = restore ? ($state.snapshot(turn.content) as Answer) : null;
    const replies = models.map(({ id, name }) => ({ model: id, name, text: '', state: 'waiting' as const }));
    turn.content = { role: 'assistant', replies };
    const answer = turn.content as Answer;
    const abort = new AbortController();
    this.#abort = abort;
    this.running = turn.id;
    this.news =
      models.length === 1
        ? t('conversation.announce.startedOne', { model: models[0]!.name })
        : t('conversation.announce.started', { count: models.length });
    this.save(turn.id);
    const saver = setInterval(() => this.save(turn.id), SAVE_EVERY_MS);
    const nameOf = (model: string) => models.find(({ id }) => id === model)?.name ?? model;
    const writer = new Writer(answer, nameOf, (news) => (this.news = told(news)));
    try {
      for await (const event of this.#events(turn, models, abort.signal)) writer.take(event);
      writer.draw();
      ended(answer);
    } catch (cause) {
      writer.draw();
      ended(answer, abort.signal.aborted ? undefined : problemOf(cause));
      this.news = abort.signal.aborted ? t('conversation.stopped') : explain(cause);
      // What was there is better than nothing.
      if (before && begun(before) && !begun(answer)) {
        const { failure } = $state.snapshot(answer) as Answer;
        turn.content = failure ? { ...before, failure } : before;
      }
    } finally {
      clearInterval(saver);
      this.running = null;
      this.save(turn.id);
      this.catchUp();
    }
  }

  #events(turn: Turn, models: Chosen[], signal: AbortSignal): AsyncGenerator<AnswerEvent> {
    const said = this.turns.slice(0, this.turns.findIndex(({ id }) => id === turn.id));
    if (this.kind === 'chat') return chat(models[0]!.id, messages(said, this.system), signal);
    const question = said.findLast(({ content }) => content.role === 'user')?.content;
    return ask(question?.role === 'user' ? question.text : '', models.map(({ id }) => id), signal);
  }

  #use(models: Chosen[]): void {
    const ids = models.map(({ id }) => id);
    const same = ids.join('\n') === this.models.join('\n');
    this.models = ids;
    if (!same && this.told && !this.gone) this.saveDetails();
  }
}

function newAnswer(): Turn {
  return { id: crypto.randomUUID(), content: { role: 'assistant', replies: [] } };
}

function problemOf(cause: unknown): Problem {
  if (cause instanceof ApiError) return { ...cause.problem, status: cause.status };
  return { detail: cause instanceof Error ? cause.message : String(cause) };
}

function told(news: News): string {
  if (news.kind === 'summary') return t('conversation.announce.summary', { text: news.text });
  return t(`conversation.announce.${news.kind}`, { model: news.name });
}
