import { tick } from 'svelte';

export type Route = 'ask' | 'chat' | 'gallery' | 'cameras' | 'models' | 'box' | 'space' | 'settings' | 'claim' | 'login' | 'missing';

const paths: Record<string, Route> = {
  '/': 'ask',
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

/** The route of a path; a trailing slash does not matter. Each camera has paths of its own. */
export function routeOf(path: string): Route {
  if (path.startsWith('/cameras/')) return 'cameras';
  return paths[path.length > 1 ? path.replace(/\/+$/, '') || '/' : path] ?? 'missing';
}

class Router {
  #path = $state('/');
  route = $derived<Route>(routeOf(this.#path));

  get path(): string {
    return this.#path;
  }

  /** Starts listening to the browser's history and to clicks on our own links. */
  start(): void {
    this.#path = location.pathname;
    window.addEventListener('popstate', () => this.#arrive());
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
    history[replace ? 'replaceState' : 'pushState'](null, '', path);
    this.#arrive();
  }

  #arrive(): void {
    this.#path = location.pathname;
    // Screen readers and keyboards go on from the heading of the new view.
    void tick().then(() => {
      scrollTo(0, 0);
      document.querySelector<HTMLElement>('main h1')?.focus({ preventScroll: true });
    });
  }
}

export const router = new Router();
