import { ApiError } from '../api';

/** Before what could not be sent is tried again; doubled each time. */
const FIRST_PAUSE_MS = 2000;
const LONGEST_PAUSE_MS = 60_000;

/** A change that the box has still to be told. It says what is so when it is sent, not when it was asked for. */
interface Change {
  key: string;
  send: () => Promise<void>;
}

export interface OutboxEvents {
  /** Changes are kept back for this reason, or (null) no longer. */
  onheld: (cause: unknown) => void;
  /** The box will never take this change; the others go on. */
  onrefused: (cause: unknown) => void;
  /** Everything was sent. */
  onempty: () => void;
}

/** The box said no, and would say so again. */
export function final(cause: unknown): boolean {
  if (!(cause instanceof ApiError)) return !(cause instanceof DOMException);
  return cause.status >= 400 && cause.status < 500 && ![401, 408, 425, 429].includes(cause.status);
}

/** Sends the changes of one conversation one after the other, and again until the box has them. */
export class Outbox {
  #queue: Change[] = [];
  #sending: Change | null = null;
  #held: unknown = null;
  #pause = FIRST_PAUSE_MS;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Grows with every change that was asked for or sent. */
  version = 0;

  constructor(private readonly events: OutboxEvents) {}

  get empty(): boolean {
    return this.#queue.length === 0 && !this.#sending;
  }

  /** Whether a change of this key is still to be sent. */
  has(key: string): boolean {
    return this.#sending?.key === key || this.#queue.some((change) => change.key === key);
  }

  /** Adds a change; one of the same key that has not left yet stands for both. */
  push(key: string, send: () => Promise<void>): void {
    this.version += 1;
    if (!this.#queue.some((change) => change.key === key)) this.#queue.push({ key, send });
    if (!this.#held) void this.#run();
  }

  /** Tries again at once. */
  retry(): void {
    clearTimeout(this.#timer);
    this.#pause = FIRST_PAUSE_MS;
    this.#held = null;
    void this.#run();
  }

  /** Forgets what was not sent. */
  drop(): void {
    clearTimeout(this.#timer);
    this.#queue = [];
    this.#held = null;
  }

  async #run(): Promise<void> {
    if (this.#sending) return;
    for (let change = this.#queue.shift(); change; change = this.#queue.shift()) {
      this.#sending = change;
      try {
        await change.send();
        this.events.onheld(null);
        this.#pause = FIRST_PAUSE_MS;
      } catch (cause) {
        if (final(cause)) {
          this.events.onrefused(cause);
        } else {
          this.#queue = [change, ...this.#queue.filter(({ key }) => key !== change.key)];
          this.#hold(cause);
          return;
        }
      } finally {
        this.#sending = null;
        this.version += 1;
      }
    }
    this.events.onempty();
  }

  #hold(cause: unknown): void {
    this.#held = cause;
    this.events.onheld(cause);
    this.#timer = setTimeout(() => {
      this.#held = null;
      void this.#run();
    }, this.#pause);
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE_MS);
  }
}
