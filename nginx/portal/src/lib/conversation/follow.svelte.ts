/** The reader is at the end when no more than this is below. */
const NEAR_PX = 96;
/** A conversation that is opened is drawn in steps; its end is followed for so long. */
const OPENING_MS = 1500;

/** Keeps the end of a growing page in sight until the reader scrolls away from it. */
export class Follow {
  /** Whether the end is in sight, and is kept there while more comes. */
  atEnd = $state(true);
  /** Whether more comes. */
  live = false;
  #until = 0;
  #last = 0;

  /** Goes to the end, and stays there. */
  toEnd(): void {
    this.atEnd = true;
    this.#until = performance.now() + OPENING_MS;
    this.#scroll();
  }

  /** Another page: nothing is followed until it is asked for. */
  release(): void {
    this.#until = 0;
    this.atEnd = this.#near();
  }

  /** To be attached to what grows. */
  watch = (element: HTMLElement): (() => void) => {
    const stop = new AbortController();
    this.#last = scrollY;
    addEventListener('scroll', () => this.#scrolled(), { passive: true, signal: stop.signal });
    const sizes = new ResizeObserver(() => {
      if (this.atEnd && (this.live || performance.now() < this.#until)) this.#scroll();
      else if (!this.#near()) this.atEnd = false;
    });
    sizes.observe(element);
    return () => {
      stop.abort();
      sizes.disconnect();
    };
  };

  #scrolled(): void {
    const up = scrollY < this.#last;
    this.#last = scrollY;
    if (this.#near()) this.atEnd = true;
    else if (up) {
      this.atEnd = false;
      this.#until = 0;
    }
  }

  #near(): boolean {
    const { scrollHeight } = document.documentElement;
    return scrollHeight - innerHeight - scrollY <= NEAR_PX;
  }

  #scroll(): void {
    scrollTo({ top: document.documentElement.scrollHeight, behavior: 'instant' });
  }
}
