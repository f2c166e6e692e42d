/** Shapes of the picture in which nothing counts, while they are drawn. */
import type { Corner, Mask } from './camera';
import type { Size } from './overlay';

/** Corners of a mask, as the box accepts them. */
export const FEWEST = 3;
export const MOST = 64;
/** A rectangle whose sides are shorter was a slip of the pointer. */
const SMALLEST = 0.01;
/** Corners are told in so many parts of the picture: finer than any camera sees. */
const PARTS = 10_000;

const within = (value: number) => Math.round(Math.min(1, Math.max(0, value)) * PARTS) / PARTS;

/** The corner at these pixels of a picture that is shown this large. */
export function cornerAt(x: number, y: number, shown: Size): Corner {
  return [within(x / (shown.width || 1)), within(y / (shown.height || 1))];
}

/** The rectangle between two opposite corners; null when it is too small to be meant. */
export function rectangle([ax, ay]: Corner, [bx, by]: Corner): Mask | null {
  const [left, right] = [Math.min(ax, bx), Math.max(ax, bx)];
  const [top, bottom] = [Math.min(ay, by), Math.max(ay, by)];
  if (right - left < SMALLEST || bottom - top < SMALLEST) return null;
  const corners: Corner[] = [[left, top], [right, top], [right, bottom], [left, bottom]];
  return { points: corners.map(([x, y]): Corner => [within(x), within(y)]) };
}

/** What a mask begins as when it is made without a pointer: the middle of the picture. */
export function middle(): Mask {
  return { points: [[0.4, 0.4], [0.6, 0.4], [0.6, 0.6], [0.4, 0.6]] };
}

/** A mask with one corner elsewhere. */
export function moved(mask: Mask, index: number, corner: Corner): Mask {
  return { points: mask.points.map((old, at): Corner => (at === index ? [within(corner[0]), within(corner[1])] : old)) };
}

/** A mask with one corner more, halfway to the next one. */
export function split(mask: Mask, index: number): Mask {
  const here = mask.points[index];
  const next = mask.points[(index + 1) % mask.points.length];
  if (!here || !next || mask.points.length >= MOST) return mask;
  const between: Corner = [within((here[0] + next[0]) / 2), within((here[1] + next[1]) / 2)];
  return { points: mask.points.toSpliced(index + 1, 0, between) };
}

/** A mask without one of its corners; it keeps three. */
export function without(mask: Mask, index: number): Mask {
  return mask.points.length > FEWEST ? { points: mask.points.toSpliced(index, 1) } : mask;
}

/** The corners for SVG, in pixels. */
export function outline(points: Corner[], shown: Size): string {
  return points.map(([x, y]) => `${x * shown.width},${y * shown.height}`).join(' ');
}

/** A coordinate in hundredths, as the fields show it. */
export function percentOf(fraction: number): string {
  return String(Math.round(fraction * PARTS) / 100);
}

/** What was typed into a field, as a fraction; null when it is no number. */
export function fractionOf(typed: string): number | null {
  const value = typed.trim() === '' ? Number.NaN : Number(typed.replace(',', '.'));
  return Number.isFinite(value) ? within(value / 100) : null;
}
