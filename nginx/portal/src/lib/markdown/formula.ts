/** Formulas as MathML, which browsers draw by themselves: no fonts have to be loaded. */
import { cancel, inFrames, type Job } from './frames';
import { LONGEST_FORMULA } from './math';

/** Macros that a formula may expand, and how large (in em) it may ask anything to be. */
const BOUNDS = { maxExpand: 100, maxSize: [20, 20] as [number, number], trust: false };

let loaded: Promise<typeof import('temml')> | undefined;

/** Draws TeX in an element when there is time; what cannot be read stays as it was written. */
export function drawLater(element: HTMLElement, tex: string, display: boolean): () => void {
  element.textContent = tex;
  let draw: Job | null = () => false;
  const load = async () => {
    const { default: temml } = await (loaded ??= import('temml'));
    if (!draw) return;
    draw = () => {
      try {
        temml.render(tex, element, { ...BOUNDS, displayMode: display, throwOnError: true });
      } catch {
        element.textContent = tex;
      }
      return false;
    };
    inFrames(draw);
  };
  if (tex.length <= LONGEST_FORMULA) load().catch(() => (loaded = undefined));
  return () => {
    if (draw) cancel(draw);
    draw = null;
  };
}
