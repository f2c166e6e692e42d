import { api, ApiError, type Health } from './api';

const EVERY_MS = 30_000;
const WHEN_TROUBLED_MS = 5_000;

/** What the box says of itself, looked at again and again while the page is visible. */
class HealthWatch {
  health = $state<Health | null>(null);
  unreachable = $state(false);
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Looks until the returned function is called. */
  start(onBack: () => void): () => void {
    let stopped = false;
    const look = async () => {
      clearTimeout(this.#timer);
      if (document.visibilityState === 'visible') {
        const was = this.unreachable;
        await this.look();
        if (was && !this.unreachable) onBack();
      }
      if (stopped) return;
      const calm = !this.unreachable && this.health?.status === 'ok';
      this.#timer = setTimeout(look, calm ? EVERY_MS : WHEN_TROUBLED_MS);
    };
    const seen = () => void (document.visibilityState === 'visible' && look());
    document.addEventListener('visibilitychange', seen);
    void look();
    return () => {
      stopped = true;
      clearTimeout(this.#timer);
      document.removeEventListener('visibilitychange', seen);
    };
  }

  async look(): Promise<void> {
    try {
      this.health = await api.health(AbortSignal.timeout(10_000));
      this.unreachable = false;
    } catch (cause) {
      // A degraded box may say so with a 503 and a body of its own, which is no problem document.
      const body = cause instanceof ApiError ? (cause.problem as Partial<Health>) : {};
      if (Array.isArray(body.components)) {
        this.health = body as Health;
        this.unreachable = false;
      } else {
        this.unreachable = true;
      }
    }
  }
}

export const watch = new HealthWatch();
