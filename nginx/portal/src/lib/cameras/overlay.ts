/** Where boxes are drawn over a picture that is shown whole within a room of another shape. */
import type { Detection } from './camera';

export interface Size {
  width: number;
  height: number;
}

export interface Place extends Size {
  x: number;
  y: number;
}

/** A box with its label, in pixels of the room. */
export interface Box extends Place {
  text: string;
  label: Place;
  /** Which of the colours; the same for the same class. */
  tone: number;
}

export const TONES = 6;
/** Height of a label, and about the width of one of its characters. */
const LABEL_HEIGHT = 20;
const CHARACTER = 8;
const PADDING = 12;

/** Where the picture lies when it is scaled to fit (as `object-fit: contain` does). */
export function fit(picture: Size, room: Size): Place {
  if (picture.width <= 0 || picture.height <= 0) return { x: 0, y: 0, width: 0, height: 0 };
  const scale = Math.min(room.width / picture.width, room.height / picture.height);
  const width = picture.width * scale;
  const height = picture.height * scale;
  return { x: (room.width - width) / 2, y: (room.height - height) / 2, width, height };
}

/** The boxes of detections over a picture, each label where there is room for it. */
export function boxes(detections: Detection[], picture: Size, room: Size, percent: (score: number) => string): Box[] {
  const place = fit(picture, room);
  if (place.width === 0) return [];
  return detections.map((seen) => {
    const x = place.x + clamp(seen.x) * place.width;
    const y = place.y + clamp(seen.y) * place.height;
    const width = Math.min(seen.width * place.width, place.x + place.width - x);
    const height = Math.min(seen.height * place.height, place.y + place.height - y);
    const text = `${seen.label} ${percent(seen.score)}`;
    return { x, y, width, height, text, label: labelPlace(x, y, text, room), tone: toneOf(seen.label) };
  });
}

/** Above the box, or within it at the top of the room, and never beyond the room's edge. */
function labelPlace(x: number, y: number, text: string, room: Size): Place {
  const width = Math.min([...text].length * CHARACTER + PADDING, room.width);
  return {
    x: Math.max(0, Math.min(x - 1, room.width - width)),
    y: y >= LABEL_HEIGHT ? y - LABEL_HEIGHT : y,
    width,
    height: LABEL_HEIGHT,
  };
}

/** A colour for a class, whatever else is seen. */
export function toneOf(label: string): number {
  let sum = 0;
  for (const character of label) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) % 1_000_003;
  return sum % TONES;
}

function clamp(fraction: number): number {
  return Math.min(1, Math.max(0, fraction));
}
