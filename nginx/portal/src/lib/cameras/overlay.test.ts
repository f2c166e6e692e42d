import { describe, expect, it } from 'vitest';
import type { Detection } from './camera';
import { TONES, boxes, fit, toneOf } from './overlay';

const percent = (score: number) => `${Math.round(score * 100)} %`;
const seen = (change: Partial<Detection> = {}): Detection => ({ label: 'circle', score: 0.9, x: 0.25, y: 0.5, width: 0.5, height: 0.25, ...change });

describe('a picture that is shown whole', () => {
  it.each([
    ['the same shape', { width: 160, height: 90 }, { x: 0, y: 0, width: 320, height: 180 }],
    ['a square: bars at the sides', { width: 100, height: 100 }, { x: 70, y: 0, width: 180, height: 180 }],
    ['a wide one: bars above and below', { width: 400, height: 100 }, { x: 0, y: 50, width: 320, height: 80 }],
    ['none yet', { width: 0, height: 0 }, { x: 0, y: 0, width: 0, height: 0 }],
  ])('of %s', (_, picture, place) => {
    expect(fit(picture, { width: 320, height: 180 })).toEqual(place);
  });
});

describe('boxes', () => {
  const square = { width: 100, height: 100 };
  const room = { width: 320, height: 180 };

  it('lie over what they are about, beside the bars', () => {
    const [box] = boxes([seen()], square, room, percent);
    expect(box).toMatchObject({ x: 115, y: 90, width: 90, height: 45, text: 'circle 90 %' });
    expect(box!.label).toMatchObject({ x: 114, y: 70, height: 20 });
  });

  it('end at the edge of the picture', () => {
    const [box] = boxes([seen({ x: 0.9, width: 0.5, y: -0.2 })], square, room, percent);
    expect(box!.x + box!.width).toBeCloseTo(250);
    expect(box!.y).toBe(0);
  });

  it('carry their label within the room', () => {
    const [top] = boxes([seen({ y: 0 })], square, room, percent);
    expect(top!.label.y).toBe(0);
    const [right] = boxes([seen({ x: 0.99, label: 'a very long name of a class' })], square, room, percent);
    expect(right!.label.x + right!.label.width).toBeLessThanOrEqual(320);
    const [long] = boxes([seen({ label: 'x'.repeat(500) })], square, room, percent);
    expect(long!.label).toMatchObject({ x: 0, width: 320 });
  });

  it('are none before there is a picture', () => {
    expect(boxes([seen()], { width: 0, height: 0 }, room, percent)).toEqual([]);
  });

  it('have the colour of their class', () => {
    const drawn = boxes([seen(), seen({ x: 0 })], square, room, percent);
    expect(drawn[0]!.tone).toBe(drawn[1]!.tone);
    expect(new Set(['circle', 'square', 'triangle', 'star'].map(toneOf)).size).toBeGreaterThan(1);
    expect(toneOf('person')).toBeLessThan(TONES);
  });
});
