import { api, ApiError, whenSignedOut, type Owner } from './api';
import { router, routeOf } from './router.svelte';

/** Where the visitor stands: before the first answer, box unclaimed, signed out, signed in. */
export type Standing = 'unknown' | 'unreachable' | 'unclaimed' | 'signed-out' | 'signed-in';

class SessionState {
  standing = $state<Standing>('unknown');
  owner = $state<Owner | null>(null);
  /** Why the box could not say who we are. */
  failure = $state<unknown>(null);
  /** Whether a session ended while it was in use. */
  expired = $state(false);
  /** Whether the box was claimed just now, in this tab. */
  fresh = $state(false);
  /** Takes away what an account leaves in this tab, whichever tab signed out. */
  onsignout: () => void = () => undefined;
  #back = '/';
  #tabs = new BroadcastChannel('actionbooster.session');

  constructor() {
    this.#tabs.onmessage = () => this.#signedOut();
    whenSignedOut(() => {
      if (this.standing !== 'signed-in') return;
      this.expired = true;
      this.#leave();
    });
  }

  /** Asks the box who we are. */
  async check(): Promise<void> {
    try {
      const session = await api.session();
      if (session?.owner) {
        this.#enter(session.owner);
      } else {
        this.standing = (await api.claimed()) ? 'signed-out' : 'unclaimed';
      }
    } catch (cause) {
      this.failure = cause;
      this.standing = 'unreachable';
      return;
    }
    this.#settle();
  }

  /** Takes up a session that the box has just given. */
  begin(owner: Owner, fresh = false): void {
    this.fresh = fresh;
    this.#enter(owner);
    router.go(this.#back, true);
    this.#back = '/';
  }

  /** Somebody else claimed the box meanwhile. */
  foundClaimed(): void {
    this.standing = 'signed-out';
    this.#settle();
  }

  /** Ends the session. Fails, and stays inside, when the box could not be told. */
  async signOut(): Promise<void> {
    try {
      await api.logout();
    } catch (cause) {
      if (!(cause instanceof ApiError && cause.status === 401)) throw cause;
    }
    this.#tabs.postMessage('signed-out');
    this.#signedOut();
  }

  #signedOut(): void {
    this.onsignout();
    this.expired = false;
    if (this.standing === 'signed-in') this.#leave();
    this.#back = '/';
  }

  #enter(owner: Owner): void {
    this.owner = owner;
    this.expired = false;
    this.standing = 'signed-in';
  }

  #leave(): void {
    this.owner = null;
    this.standing = 'signed-out';
    this.#settle();
  }

  /** Puts the visitor on the page that fits, remembering the one that was wanted. */
  #settle(): void {
    const wanted = routeOf(router.path);
    const gate = wanted === 'login' || wanted === 'claim';
    if (this.standing === 'signed-in') {
      if (gate) router.go('/', true);
      return;
    }
    if (!gate) this.#back = router.path;
    router.go(this.standing === 'unclaimed' ? '/claim' : '/login', true);
  }
}

export const session = new SessionState();
