import { api, ApiError, type Health } from './api';

const CALM_MS = 30_000;
const TROUBLED_MS = 5_000;
const LIMIT_MS = 10_000;

/** What the box says of itself, looked at again and again while the page is visible. */
class HealthWatch {
  health = $state<Health | null>(null);
  /** Why the last look failed; null when the box answered. */
  failure = $state<ApiError | null>(null);
  #uneasyUntil = 0;
  #again: () => void = () => undefined;

  /** Looks until the returned function is called; `onBack` runs when the box answers again. */
  start(onBack: () => void): () => void {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let stopped = false;
    const look = async () => {
      clearTimeout(timer);
      if (document.visibilityState === 'visible') {
        const before = this.failure;
        await this.#look();
        if (before && !this.failure) onBack();
      }
      clearTimeout(timer);
      if (!stopped) timer = setTimeout(look, this.#calm() ? CALM_MS : TROUBLED_MS);
    };
    const seen = () => void (document.visibilityState === 'visible' && look());
    document.addEventListener('visibilitychange', seen);
    this.#again = () => void look();
    void look();
    return () => {
      stopped = true;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', seen);
    };
  }

  /** Looks at once. */
  look(): void {
    this.#again();
  }

  /** Looks often for a while, because the box is about to go away or come back. */
  expectTrouble(forMs: number): void {
    this.#uneasyUntil = Date.now() + forMs;
    this.#again();
  }

  #calm(): boolean {
    return !this.failure && this.health?.status === 'ok' && Date.now() > this.#uneasyUntil;
  }

  async #look(): Promise<void> {
    try {
      this.health = await api.health(AbortSignal.timeout(LIMIT_MS));
      this.failure = null;
    } catch (cause) {
      const failure = cause instanceof ApiError ? cause : new ApiError(0, { type: 'unreachable' });
      // A box in trouble may say so with a status of its own and the usual body.
      const body = failure.problem as Partial<Health>;
      if (Array.isArray(body.components)) {
        this.health = body as Health;
        this.failure = null;
      } else {
        this.failure = failure;
      }
    }
  }
}

export const watch = new HealthWatch();
