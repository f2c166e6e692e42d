import { ApiError } from '../api';
import { conversationApi, type Details } from './api';
import { merge } from './merge';
import { Outbox } from './outbox';
import { ended, unfinished, type Answer, type Content, type Kind, type Turn } from './turn';

/** An answer that another tab writes counts as broken off when nothing of it came for so long. */
const QUIET_MS = 15_000;

/** A conversation as this tab has it, kept on the box: sent turn by turn, and merged with what others write. */
export class KeptConversation {
  kind = $state<Kind>('chat');
  title = $state('');
  models = $state.raw<string[]>([]);
  system = $state('');
  turns = $state<Turn[]>([]);
  /** The box was read, or there is nothing to read there. */
  loaded = $state(false);
  /** Why it could not be read. */
  failure = $state.raw<unknown>(null);
  /** Why the box does not have everything yet; it is tried again. */
  held = $state.raw<unknown>(null);
  /** What the box will never take stays in this tab. */
  refused = $state.raw<unknown>(null);
  /** Deleted elsewhere while it was open here. */
  gone = $state(false);
  /** The turn that is being written here. */
  running = $state<string | null>(null);
  /** Nothing more came of an answer that another tab seemed to write. */
  quiet = $state(false);

  /** Whether the box was told that it exists. */
  protected told = false;
  #closed = false;
  #removed = new Set<string>();
  #reading = false;
  #stale = false;
  #quietTimer: ReturnType<typeof setTimeout> | undefined;
  #outbox = new Outbox({
    onheld: (cause) => (this.held = cause),
    onrefused: (cause) => this.#refuse(cause),
    onempty: () => {
      if (this.#stale) void this.refresh();
      if (this.refused === null && !this.gone) this.onkept(this.id);
    },
  });

  constructor(
    readonly id: string,
    kind: Kind,
    /** Whether the box keeps conversations. */
    protected readonly keeps: () => boolean,
    /** The box has all of it. */
    private readonly onkept: (id: string) => void = () => undefined,
  ) {
    this.kind = kind;
  }

  /** Whether something of it is in this tab only. */
  get unkept(): boolean {
    if (this.turns.length === 0) return false;
    return !this.told || !this.#outbox.empty || this.refused !== null;
  }

  /** Takes over what is in this tab only, such as what an older version kept in the browser. */
  adopt(details: Details, turns: Turn[]): void {
    const { kind, title, models, system } = details;
    Object.assign(this, { kind, title, models, system, turns, loaded: true });
  }

  /** The box has got it in another way. */
  moved(): void {
    if (this.told) return;
    this.told = true;
    void this.refresh();
  }

  /** Reads it from the box, now or as soon as everything of this tab is there. */
  async refresh(): Promise<void> {
    if (!this.keeps() || this.#closed || (this.loaded && !this.told)) return;
    this.#stale = true;
    if (this.#reading) return;
    this.#reading = true;
    try {
      while (this.#stale && this.running === null && this.#outbox.empty) {
        this.#stale = false;
        const { version } = this.#outbox;
        const { details, turns } = await conversationApi.read(this.id);
        // Written meanwhile: what was read may be older than what was sent.
        if (version !== this.#outbox.version || this.running !== null) this.#stale = true;
        else this.#take(details, turns);
      }
      this.failure = null;
    } catch (cause) {
      this.#stale = false;
      if (this.told && cause instanceof ApiError && cause.status === 404) this.gone = true;
      else this.failure = cause;
    } finally {
      this.#reading = false;
    }
  }

  rename(title: string): void {
    if (title.trim() === '') return;
    this.title = title.trim();
    if (this.told) this.saveDetails();
  }

  instruct(system: string): void {
    this.system = system.trim();
    if (this.told) this.saveDetails();
  }

  /** Sends at once what could not be sent. */
  retry(): void {
    if (!this.#outbox.empty) this.#outbox.retry();
  }

  /** The page goes away: what was written so far is kept as it stands. */
  leave(): void {
    const turn = this.turns.find(({ id }) => id === this.running);
    if (!turn || !this.keeps()) return;
    const content = $state.snapshot(turn.content) as Answer;
    ended(content);
    conversationApi.putTurn(this.id, turn.id, content, { keepalive: true }).catch(() => undefined);
  }

  /** Sends nothing more. */
  close(): void {
    this.#closed = true;
    this.#outbox.drop();
    clearTimeout(this.#quietTimer);
  }

  /** Adds a turn at the end and keeps it; returns it as it lies in the list. */
  protected add(turn: Turn, onkept?: () => void): Turn {
    this.turns.push(turn);
    this.loaded = true;
    if (this.gone) {
      this.gone = false;
      this.told = false;
    }
    if (this.told || !this.keeps()) {
      this.save(turn.id, onkept);
    } else {
      this.saveDetails();
      for (const { id } of this.turns) this.save(id, id === turn.id ? onkept : undefined);
    }
    return this.turns.at(-1)!;
  }

  protected saveDetails(): void {
    if (!this.keeps() || this.#closed) return;
    this.told = true;
    this.#outbox.push('details', () => {
      const { kind, title, models, system } = this;
      return conversationApi.put(this.id, { kind, title, models, system });
    });
  }

  protected save(turn: string, onkept?: () => void): void {
    if (!this.keeps()) return onkept?.();
    if (this.gone || this.#closed) return;
    this.#outbox.push(turn, async () => {
      const now = this.turns.find(({ id }) => id === turn);
      if (now) await conversationApi.putTurn(this.id, turn, $state.snapshot(now.content) as Content);
      onkept?.();
    });
  }

  /** Each by its id: what another tab has added meanwhile is not deleted with them. */
  protected remove(turns: Turn[]): void {
    const ids = new Set(turns.map(({ id }) => id));
    this.turns = this.turns.filter(({ id }) => !ids.has(id));
    if (!this.keeps() || this.#closed) return;
    for (const id of ids) {
      this.#removed.add(id);
      this.#outbox.push(`remove ${id}`, async () => {
        await conversationApi.removeTurn(this.id, id).catch((cause) => {
          if (!(cause instanceof ApiError && cause.status === 404)) throw cause;
        });
        this.#removed.delete(id);
      });
    }
  }

  /** Reads what was asked for while an answer was being written. */
  protected catchUp(): void {
    if (this.#stale) void this.refresh();
  }

  #take(details: Details, turns: Turn[]): void {
    this.told = true;
    const { kind, title, models, system } = details;
    Object.assign(this, { kind, title, models, system, loaded: true, gone: false, quiet: false });
    const pending = new Set(this.turns.filter(({ id }) => this.#outbox.has(id)).map(({ id }) => id));
    this.turns = merge(this.turns, turns, pending, this.#removed);
    clearTimeout(this.#quietTimer);
    if (turns.some(({ content }) => unfinished(content))) {
      this.#quietTimer = setTimeout(() => (this.quiet = true), QUIET_MS);
    }
  }

  #refuse(cause: unknown): void {
    if (cause instanceof ApiError && cause.status === 404) {
      this.gone = true;
      this.#outbox.drop();
    } else {
      this.refused = cause;
    }
  }
}
