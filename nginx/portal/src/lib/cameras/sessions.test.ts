import { describe, expect, it } from 'vitest';
import { byCount, inSnapshot, lasted, stretches, type Frame } from './sessions';

const frame = (second: number, ...labels: string[]): Frame => ({
  at: new Date(Date.UTC(2026, 10, 21, 13, 30, second)).toISOString(),
  detections: labels.map((label, index) => ({ label, score: 0.5 + index / 10, x: 0, y: 0, width: 1, height: 1 })),
});

describe('the course of a session', () => {
  it('puts together what is the same, whatever its order', () => {
    const rows = stretches([frame(0, 'circle', 'star'), frame(1, 'star', 'circle'), frame(2, 'circle'), frame(3, 'circle')]);
    expect(rows.map(({ seen, frames }) => [seen.map(([label]) => label).join('+'), frames])).toEqual([
      ['circle+star', 2],
      ['circle', 2],
    ]);
    expect(rows[1]).toMatchObject({ from: frame(2).at, to: frame(3).at });
  });

  it('tells one and two of a class apart, and a pause', () => {
    expect(stretches([frame(0, 'star'), frame(1, 'star', 'star')])).toHaveLength(2);
    expect(stretches([frame(0, 'star'), frame(5, 'star')])).toHaveLength(2);
    expect(stretches([])).toEqual([]);
  });
});

describe('the snapshot', () => {
  it('is the first picture with the best score', () => {
    const best = frame(1, 'circle', 'star');
    expect(inSnapshot([frame(0, 'circle'), best, frame(2, 'arc', 'square')])).toBe(best.detections);
    expect(inSnapshot([])).toEqual([]);
  });
});

describe('a session', () => {
  it('lasts until its end, or until now', () => {
    const began = frame(0).at;
    expect(lasted({ began, ended: frame(7).at }, 0)).toBe(7000);
    expect(lasted({ began, ended: null }, Date.parse(frame(9).at))).toBe(9000);
    expect(lasted({ began, ended: null }, 0)).toBe(0);
  });

  it('names the most frequent class first', () => {
    const classes = { star: { count: 2, best: 0.9 }, arc: { count: 7, best: 0.4 }, box: { count: 2, best: 0.5 } };
    expect(byCount(classes).map(([label]) => label)).toEqual(['arc', 'box', 'star']);
  });
});
