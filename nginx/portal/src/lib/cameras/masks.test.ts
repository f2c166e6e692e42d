import { describe, expect, it } from 'vitest';
import { MOST, cornerAt, fractionOf, middle, moved, outline, percentOf, rectangle, split, without } from './masks';

const shown = { width: 400, height: 200 };

describe('a mask', () => {
  it('is a rectangle whichever way it was dragged', () => {
    const expected = { points: [[0.1, 0.2], [0.5, 0.2], [0.5, 0.6], [0.1, 0.6]] };
    expect(rectangle([0.1, 0.2], [0.5, 0.6])).toEqual(expected);
    expect(rectangle([0.5, 0.2], [0.1, 0.6])).toEqual(expected);
    expect(rectangle([0.5, 0.6], [0.1, 0.2])).toEqual(expected);
  });

  it('is none when the pointer only slipped', () => {
    expect(rectangle([0.1, 0.1], [0.105, 0.5])).toBeNull();
    expect(rectangle([0.1, 0.1], [0.1, 0.1])).toBeNull();
  });

  it('stays within the picture', () => {
    expect(cornerAt(-5, 100, shown)).toEqual([0, 0.5]);
    expect(cornerAt(500, 250, shown)).toEqual([1, 1]);
    expect(cornerAt(1, 1, { width: 0, height: 0 })).toEqual([1, 1]);
    expect(moved(middle(), 0, [-1, 2]).points[0]).toEqual([0, 1]);
  });

  it('gets and loses corners, and keeps three', () => {
    const more = split(middle(), 3);
    expect(more.points.at(-1)).toEqual([0.4, 0.5]);
    expect(more.points).toHaveLength(5);
    let mask = more;
    for (let count = 0; count < 5; count += 1) mask = without(mask, 0);
    expect(mask.points).toHaveLength(3);
    for (let count = 0; count < 100; count += 1) mask = split(mask, 0);
    expect(mask.points).toHaveLength(MOST);
  });

  it('is drawn where it lies', () => {
    expect(outline([[0, 0.5], [1, 1]], shown)).toBe('0,100 400,200');
  });
});

describe('a coordinate', () => {
  it.each([
    ['12.5', 0.125],
    ['12,5', 0.125],
    ['100', 1],
    ['140', 1],
    ['-3', 0],
    ['', null],
    ['half', null],
  ])('typed as %j is %j', (typed, fraction) => {
    expect(fractionOf(typed)).toBe(fraction);
  });

  it('is shown in hundredths', () => {
    expect(percentOf(0.1234)).toBe('12.34');
    expect(percentOf(1)).toBe('100');
  });
});
