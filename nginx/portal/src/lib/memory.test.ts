import { describe, expect, it } from 'vitest';
import { shares } from './memory';

describe('the memory picture', () => {
  it('fills the bar when the parts fit', () => {
    const { rest, bars } = shares({ total_bytes: 1000, model_budget_bytes: 600, daemon_limits: { a: 50, b: 150 } });
    expect(rest).toBe(200);
    expect(bars.map(({ from, width }) => [from, width])).toEqual([[0, 60], [60, 20], [80, 20]]);
  });

  it('stays inside the bar when limits add up to more than there is', () => {
    const { rest, bars } = shares({ total_bytes: 1000, model_budget_bytes: 900, daemon_limits: { a: 500 } });
    expect(rest).toBe(0);
    expect(bars.map(({ width }) => width)).toEqual([90, 10, 0]);
  });

  it('draws nothing for a machine that tells nothing', () => {
    const { bars } = shares({ total_bytes: 0, model_budget_bytes: 0, daemon_limits: {} });
    expect(bars.map(({ width }) => width)).toEqual([0, 0, 0]);
  });
});
