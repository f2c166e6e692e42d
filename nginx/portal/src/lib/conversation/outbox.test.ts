import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ApiError } from '../api';
import { final, Outbox } from './outbox';

const unreachable = () => new ApiError(0, { type: 'unreachable' });

function outbox() {
  const held: unknown[] = [];
  const refused: string[] = [];
  const box = new Outbox({
    onheld: (cause) => held.push(cause),
    onrefused: (_, key) => refused.push(key),
    onempty: () => undefined,
  });
  return { box, held, refused };
}

describe('the outbox', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('sends changes in order, one at a time', async () => {
    const { box } = outbox();
    const log: string[] = [];
    const change = (name: string) => async () => {
      log.push(`${name} begins`);
      await Promise.resolve();
      log.push(`${name} ends`);
    };
    box.push('a', change('a'));
    box.push('b', change('b'));
    await vi.runAllTimersAsync();
    expect(log).toEqual(['a begins', 'a ends', 'b begins', 'b ends']);
    expect(box.empty).toBe(true);
  });

  it('sends a change that comes several times once more at most, and what is so then', async () => {
    const { box } = outbox();
    const sent: number[] = [];
    let now = 0;
    for (now = 1; now <= 5; now += 1) box.push('turn', async () => void sent.push(now));
    await vi.runAllTimersAsync();
    expect(sent).toEqual([1, 6]);
  });

  it('tries again until the box has them, in longer and longer pauses, and says why meanwhile', async () => {
    const { box, held } = outbox();
    let tries = 0;
    const times: number[] = [];
    const began = Date.now();
    box.push('turn', async () => {
      tries += 1;
      times.push(Date.now() - began);
      if (tries < 4) throw unreachable();
    });
    await vi.runAllTimersAsync();
    expect(times).toEqual([0, 2000, 6000, 14_000]);
    expect(held.at(-2)).toBeInstanceOf(ApiError);
    expect(held.at(-1)).toBeNull();
    expect(box.empty).toBe(true);
  });

  it('holds back later changes, so that their order stays', async () => {
    const { box } = outbox();
    const sent: string[] = [];
    let there = false;
    box.push('a', async () => {
      if (!there) throw unreachable();
      sent.push('a');
    });
    await vi.advanceTimersByTimeAsync(0);
    box.push('b', async () => void sent.push('b'));
    await vi.advanceTimersByTimeAsync(1000);
    expect(sent).toEqual([]);
    there = true;
    box.retry();
    await vi.advanceTimersByTimeAsync(0);
    expect(sent).toEqual(['a', 'b']);
  });

  it('never sends again what was forgotten, on its way or not', async () => {
    const { box } = outbox();
    let tries = 0;
    let fail: (cause: unknown) => void = () => undefined;
    box.push('on its way', () => {
      tries += 1;
      return new Promise((_, reject) => (fail = reject));
    });
    box.push('later', async () => void (tries += 1));
    box.drop();
    fail(unreachable());
    await vi.advanceTimersByTimeAsync(600_000);
    expect(tries).toBe(1);
    expect(box.empty).toBe(true);
    box.push('new', async () => void (tries += 1));
    await vi.advanceTimersByTimeAsync(0);
    expect(tries).toBe(2);
  });

  it('goes on after a change that the box never takes', async () => {
    const { box, refused } = outbox();
    const sent: string[] = [];
    box.push('large', async () => {
      throw new ApiError(413, {});
    });
    box.push('small', async () => void sent.push('small'));
    await vi.runAllTimersAsync();
    expect([refused, sent]).toEqual([['large'], ['small']]);
  });
});

describe('a failure', () => {
  it.each([
    [0, false],
    [401, false],
    [404, true],
    [409, true],
    [413, true],
    [422, true],
    [429, false],
    [503, false],
    [507, false],
  ])('with status %i is final: %s', (status, expected) => {
    expect(final(new ApiError(status, {}))).toBe(expected);
  });
});
