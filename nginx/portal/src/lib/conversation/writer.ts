import type { AnswerEvent, Ending } from './stream';
import type { Answer, Reply } from './turn';

/** Text is gathered this long before it is drawn, so that fast models stay smooth. */
const DRAW_EVERY_MS = 40;

/** What a screen reader is told of. */
export type News =
  | { kind: 'answered' | 'failed'; name: string }
  | { kind: 'summary'; text: string };

/** Writes events into an answer, in batches. */
export class Writer {
  #pending = new Map<string, { text: string; reasoning: string }>();
  #summary = '';
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly answer: Answer,
    private readonly nameOf: (model: string) => string,
    private readonly onnews: (news: News) => void = () => undefined,
  ) {}

  take(event: AnswerEvent): void {
    switch (event.kind) {
      case 'start':
        for (const model of event.models) this.#reply(model);
        break;
      case 'text':
      case 'reasoning': {
        const reply = this.#reply(event.model);
        if (reply.state === 'waiting') reply.state = 'writing';
        const pending = this.#pending.get(event.model) ?? { text: '', reasoning: '' };
        pending[event.kind] += event.text;
        this.#pending.set(event.model, pending);
        this.#later();
        break;
      }
      case 'summary_text':
        this.#summary += event.text;
        this.#later();
        break;
      case 'ending':
        this.#end(event.ending);
        break;
      case 'summary':
        this.draw();
        this.answer.summary = event.summary;
        this.onnews({ kind: 'summary', text: event.summary.text });
        break;
    }
  }

  /** Draws what has been gathered. */
  draw(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [model, { text, reasoning }] of this.#pending) {
      const reply = this.#reply(model);
      if (text) reply.text += text;
      if (reasoning) reply.reasoning = (reply.reasoning ?? '') + reasoning;
    }
    this.#pending.clear();
    if (this.#summary !== '') {
      this.answer.summary ??= { text: '', model: null, method: null };
      this.answer.summary.text += this.#summary;
      this.#summary = '';
    }
  }

  #later(): void {
    this.#timer ??= setTimeout(() => this.draw(), DRAW_EVERY_MS);
  }

  #reply(model: string): Reply {
    const { replies } = this.answer;
    if (!replies.some((reply) => reply.model === model)) {
      replies.push({ model, name: this.nameOf(model), text: '', state: 'waiting' });
    }
    return replies.find((reply) => reply.model === model)!;
  }

  #end(ending: Ending): void {
    this.draw();
    const reply = this.#reply(ending.model);
    if (ending.error) {
      reply.state = 'failed';
      reply.error = ending.error;
      this.onnews({ kind: 'failed', name: reply.name });
      return;
    }
    if (ending.text !== null && ending.text !== undefined) reply.text = ending.text;
    reply.state = 'answered';
    if (ending.full) reply.full = true;
    if (ending.generated_tokens && ending.duration_ms) {
      reply.tokens = ending.generated_tokens;
      reply.seconds = ending.duration_ms / 1000;
    }
    this.onnews({ kind: 'answered', name: reply.name });
  }
}
