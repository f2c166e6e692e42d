import { cameraApi } from './api';
import { settingsOf, type Camera, type CameraSettings } from './camera';
import { FRESH_MS, fold, fresh, look, type CameraEvent, type Sights } from './events';

/** How often the list is read again: somebody else may have changed it. */
const LOOK_MS = 10_000;
/** Before the events are listened to again. */
const PAUSE_MS = 2000;

/** The cameras and what they see, as long as somebody looks at the page. */
export class CameraWatch {
  cameras = $state.raw<Camera[]>([]);
  sights = $state.raw<Sights>({});
  /** Grows for a camera whose live picture must be asked for anew. */
  turns = $state.raw<Readonly<Record<string, number>>>({});
  /** Grows for a camera whose sessions have changed. */
  kept = $state.raw<Readonly<Record<string, number>>>({});
  failure = $state.raw<unknown>(null);
  loaded = $state(false);
  #stop = new AbortController();
  #timers: ReturnType<typeof setTimeout>[] = [];

  /** Looks until the returned function is called. */
  start(): () => void {
    void this.#listen();
    const again = setInterval(() => {
      if (document.visibilityState === 'visible' && this.loaded) void this.load(false);
    }, LOOK_MS);
    return () => {
      this.#stop.abort();
      clearInterval(again);
      this.#timers.forEach(clearTimeout);
    };
  }

  /** Reads the list; a failure of a look that nobody asked for leaves what is shown. */
  async load(asked = true): Promise<void> {
    try {
      this.cameras = await cameraApi.list();
      this.failure = null;
    } catch (cause) {
      if (asked || !this.loaded) this.failure = cause;
    } finally {
      this.loaded = true;
    }
  }

  async add(settings: CameraSettings): Promise<Camera> {
    const added = await cameraApi.add(settings);
    await this.load();
    return added;
  }

  async change(settings: CameraSettings): Promise<void> {
    const changed = await cameraApi.change(settings);
    this.cameras = this.cameras.map((camera) => (camera.id === changed.id ? changed : camera));
    this.#grow('turns', changed.id);
  }

  enable(camera: Camera, enabled: boolean): Promise<void> {
    return this.change({ ...settingsOf(camera), enabled });
  }

  async remove(id: string): Promise<void> {
    await cameraApi.remove(id);
    this.cameras = this.cameras.filter((camera) => camera.id !== id);
  }

  /** Follows the events, and begins again when the connection breaks. */
  async #listen(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        for await (const { kind, event } of cameraApi.events(signal, () => this.#opened())) this.#hear(kind, event);
      } catch (cause) {
        if (!signal.aborted && !this.loaded) {
          this.failure = cause;
          this.loaded = true;
        }
      }
      if (!signal.aborted) await this.#pause();
    }
  }

  /** The list is read once the box tells what changes in it, so nothing falls in between. */
  #opened(): void {
    void this.load();
    for (const { id } of this.cameras) this.#grow('turns', id);
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#timers.push(setTimeout(resolve, PAUSE_MS));
      this.#stop.signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  #hear(kind: string, event: CameraEvent): void {
    this.cameras = fold(this.cameras, kind, event);
    if (kind === 'ai.session_started' || kind === 'ai.session_ended') this.#grow('kept', event.camera);
    const sights = look(this.sights, kind, event, performance.now());
    if (sights === this.sights) return;
    this.sights = sights;
    const timer = setTimeout(() => {
      this.#timers = this.#timers.filter((other) => other !== timer);
      this.sights = fresh(this.sights, performance.now());
    }, FRESH_MS + 10);
    this.#timers.push(timer);
  }

  #grow(what: 'turns' | 'kept', id: string): void {
    this[what] = { ...this[what], [id]: (this[what][id] ?? 0) + 1 };
  }
}
