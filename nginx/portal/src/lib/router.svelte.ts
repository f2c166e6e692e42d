import { tick } from 'svelte';

export type Route = 'ask' | 'chat' | 'gallery' | 'cameras' | 'models' | 'box' | 'space' | 'settings' | 'claim' | 'login' | 'missing';

const paths: Record<string, Route> = {
  '/': 'ask',
  '/ask': 'ask',
  '/chat': 'chat',
  '/gallery': 'gallery',
  '/cameras': 'cameras',
  '/new-camera': 'cameras',
  '/models': 'models',
  '/box': 'box',
  '/space': 'space',
  '/settings': 'settings',
  '/claim': 'claim',
  '/login': 'login',
};

/** Views that have paths of their own for what they show: a camera, a conversation. */
const folders = ['cameras', 'chat', 'ask'] as const;

/** The place on a page is waited for so long, because what it shows comes from the box first. */
const RESTORE_MS = 2000;

/** The route of a path; a trailing slash does not matter. */
export function routeOf(path: string): Route {
  const folder = folders.find((name) => path.startsWith(`/${name}/`));
  if (folder) return folder;
  return paths[path.length > 1 ? path.replace(/\/+$/, '') || '/' : path] ?? 'missing';
}

/** What a path of a view shows, or nothing: the second part of `/chat/ID`. */
export function itemOf(path: string): string {
  return path.split('/')[2] ?? '';
}

class Router {
  #path = $state('/');
  route = $derived<Route>(routeOf(this.#path));
  /** Whether the page was reached through the browser's history: it is shown where it was left. */
  returned = false;
  #entry = 0;
  #places = new Map<number, number>();

  get path(): string {
    return this.#path;
  }

  /** Starts listening to the browser's history and to clicks on our own links. */
  start(): void {
    this.#path = location.pathname;
    history.scrollRestoration = 'manual';
    this.#entry = history.state?.entry ?? Date.now();
    history.replaceState({ entry: this.#entry, place: history.state?.place }, '');
    if (history.state.place) this.#restore(history.state.place);
    window.addEventListener('popstate', () => {
      this.#entry = history.state?.entry ?? Date.now();
      this.#arrive(this.#places.get(this.#entry) ?? history.state?.place ?? 0);
    });
    window.addEventListener('scroll', () => this.#places.set(this.#entry, scrollY), { passive: true });
    // A reload forgets everything but this.
    window.addEventListener('pagehide', () => history.replaceState({ entry: this.#entry, place: scrollY }, ''));
    document.addEventListener('click', (event) => {
      if (event.defaultPrevented || event.button !== 0) return;
      if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
      const link = event.target instanceof Element ? event.target.closest('a') : null;
      if (!link || link.origin !== location.origin || link.target || link.hasAttribute('download')) return;
      if (link.hash || routeOf(link.pathname) === 'missing') return;
      event.preventDefault();
      this.go(link.pathname);
    });
  }

  /** Opens a path of ours; `replace` leaves no way back to the present one. */
  go(path: string, replace = false): void {
    if (path === this.#path) return;
    if (!replace) this.#entry += 1;
    history[replace ? 'replaceState' : 'pushState']({ entry: this.#entry }, '', path);
    this.#arrive(null);
  }

  /** What is shown has got a path; nothing moves. */
  name(path: string): void {
    history.replaceState({ entry: this.#entry }, '', path);
    this.#path = location.pathname;
  }

  /** Shows the present path, at a place of its page or (null) from its heading on. */
  #arrive(place: number | null): void {
    this.returned = place !== null;
    this.#path = location.pathname;
    // Screen readers and keyboards go on from the heading of the new view.
    void tick().then(() => {
      if (place) this.#restore(place);
      else scrollTo(0, 0);
      document.querySelector<HTMLElement>('main h1')?.focus({ preventScroll: true });
    });
  }

  /** Scrolls there as soon as the page is long enough, unless the reader scrolls first. */
  #restore(place: number): void {
    this.returned = true;
    const until = performance.now() + RESTORE_MS;
    const entry = this.#entry;
    let mine = true;
    const theirs = () => (mine = false);
    const gestures = ['wheel', 'touchmove', 'keydown', 'pointerdown'] as const;
    for (const gesture of gestures) addEventListener(gesture, theirs, { passive: true, once: true });
    const step = () => {
      if (mine && entry === this.#entry) {
        scrollTo(0, place);
        if (Math.abs(scrollY - place) > 1 && performance.now() < until) return void requestAnimationFrame(step);
      }
      for (const gesture of gestures) removeEventListener(gesture, theirs);
    };
    requestAnimationFrame(step);
  }
}

export const router = new Router();
