import { api, ApiError, type Answer, type Problem, type QueryEvent, type Summary } from './api';
import { explain } from './errors';
import { t } from './i18n/index.svelte';

/** Tokens are gathered this long before they are drawn, so that fast models stay smooth. */
const DRAW_EVERY_MS = 40;

export type AnswerState = 'waiting' | 'writing' | 'answered' | 'failed' | 'stopped';

/** What one model says to one question. */
export class ModelAnswer {
  text = $state('');
  state = $state<AnswerState>('waiting');
  error = $state('');
  measure = $state<{ tokens: number; seconds: number } | null>(null);

  constructor(readonly model: string) {}
}

/** A question with all its answers. Drives itself from the stream until done or stopped. */
export class Exchange {
  answers = $state<ModelAnswer[]>([]);
  summary = $state('');
  method = $state<Summary['method'] | null>(null);
  summaryModel = $state<string | null>(null);
  running = $state(true);
  stopped = $state(false);
  failure = $state<unknown>(null);
  /** What a screen reader says next. */
  news = $state('');
  answered = $derived(this.answers.filter(({ state }) => state === 'answered' || state === 'failed').length);

  #abort = new AbortController();
  #pending = new Map<ModelAnswer | Exchange, string>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly id: number,
    readonly prompt: string,
    readonly models: string[],
    private readonly nameOf: (model: string) => string,
  ) {
    this.answers = models.map((model) => new ModelAnswer(model));
  }

  stop(): void {
    this.stopped = true;
    this.#abort.abort();
  }

  async run(): Promise<void> {
    const [only] = this.models;
    this.news =
      this.models.length === 1
        ? t('ask.announce.startedOne', { model: this.nameOf(only!) })
        : t('ask.announce.started', { count: this.models.length });
    try {
      for await (const event of api.ask(this.prompt, this.models, this.#abort.signal)) this.#take(event);
    } catch (cause) {
      if (!this.stopped) this.failure = cause;
    } finally {
      this.#draw();
      for (const answer of this.answers) {
        if (answer.state === 'waiting' || answer.state === 'writing') answer.state = 'stopped';
      }
      this.running = false;
      if (this.stopped) this.news = t('ask.announce.stopped');
      else if (this.failure) this.news = explain(this.failure);
    }
  }

  #take(event: QueryEvent): void {
    switch (event.kind) {
      case 'start':
        for (const model of event.models) this.#answer(model);
        break;
      case 'token': {
        const answer = this.#answer(event.model);
        answer.state = 'writing';
        this.#later(answer, event.text);
        break;
      }
      case 'answer':
        this.#finish(event.answer);
        break;
      case 'summary_token':
        this.#later(this, event.text);
        break;
      case 'summary':
        this.#draw();
        this.summary = event.summary.text;
        this.method = event.summary.method;
        this.summaryModel = event.summary.model;
        this.news = t('ask.announce.summary', { text: event.summary.text });
        break;
    }
  }

  #answer(model: string): ModelAnswer {
    let answer = this.answers.find((known) => known.model === model);
    if (!answer) {
      this.answers.push(new ModelAnswer(model));
      answer = this.answers.at(-1)!;
    }
    return answer;
  }

  #finish(final: Answer): void {
    this.#draw();
    const answer = this.#answer(final.model);
    const model = this.nameOf(final.model);
    if (final.error) {
      answer.state = 'failed';
      answer.error = reason(final.error);
      this.news = t('ask.announce.failed', { model });
      return;
    }
    answer.text = final.text ?? answer.text;
    answer.state = 'answered';
    if (final.generated_tokens && final.duration_ms) {
      answer.measure = { tokens: final.generated_tokens, seconds: final.duration_ms / 1000 };
    }
    this.news = t('ask.announce.answered', { model });
  }

  #later(target: ModelAnswer | Exchange, text: string): void {
    this.#pending.set(target, (this.#pending.get(target) ?? '') + text);
    this.#timer ??= setTimeout(() => this.#draw(), DRAW_EVERY_MS);
  }

  #draw(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [target, text] of this.#pending) {
      if (target instanceof Exchange) target.summary += text;
      else target.text += text;
    }
    this.#pending.clear();
  }
}

function reason(error: string | Problem): string {
  return typeof error === 'string' ? error : explain(new ApiError(error.status ?? 500, error));
}

/** The questions of this tab, newest first. They live as long as the tab does. */
class Exchanges {
  list = $state<Exchange[]>([]);
  draft = $state('');
  /** The chosen models; null until the box has said which there are. */
  chosen = $state<string[] | null>(null);
  #next = 1;

  get current(): Exchange | undefined {
    return this.list[0];
  }

  ask(prompt: string, models: string[], nameOf: (model: string) => string): void {
    this.current?.stop();
    this.list.unshift(new Exchange(this.#next, prompt, models, nameOf));
    this.#next += 1;
    void this.current!.run();
  }

  forgetEarlier(): void {
    this.list = this.list.slice(0, 1);
  }

  /** Leaves nothing of one owner's questions to whoever signs in next. */
  forgetAll(): void {
    this.current?.stop();
    this.list = [];
    this.draft = '';
    this.chosen = null;
  }
}

export const exchanges = new Exchanges();
