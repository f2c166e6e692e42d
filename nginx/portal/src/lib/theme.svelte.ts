export type Theme = 'auto' | 'light' | 'dark';

const STORED = 'actionbooster.theme';
const order: Theme[] = ['auto', 'light', 'dark'];

/** Light, dark, or whatever the device says. The style sheet reads `data-theme`. */
class Appearance {
  #theme = $state<Theme>('auto');

  get theme(): Theme {
    return this.#theme;
  }

  restore(): void {
    try {
      const stored = localStorage.getItem(STORED) as Theme | null;
      if (stored && order.includes(stored)) this.#set(stored);
    } catch {
      // Without storage the device decides.
    }
  }

  /** Goes on to the next one. */
  next(): void {
    const theme = order[(order.indexOf(this.#theme) + 1) % order.length]!;
    this.#set(theme);
    try {
      localStorage.setItem(STORED, theme);
    } catch {
      // It holds for this visit.
    }
  }

  #set(theme: Theme): void {
    this.#theme = theme;
    if (theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
  }
}

export const appearance = new Appearance();
