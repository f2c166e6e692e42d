import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ApiError } from '../api';
import { final, Outbox } from './outbox';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function outbox() {
  const told = { held: null as unknown, refused: [] as unknown[], empty: 0 };
  const box = new Outbox({
    onheld: (cause) => (told.held = cause),
    onrefused: (cause) => told.refused.push(cause),
    onempty: () => (told.empty += 1),
  });
  return { box, told };
}

const settle = () => vi.advanceTimersByTimeAsync(0);

describe('changes', () => {
  it('are sent one after the other, in their order', async () => {
    const { box, told } = outbox();
    const sent: string[] = [];
    let release = () => {};
    box.push('a', () => new Promise((done) => (release = () => (sent.push('a'), done()))));
    box.push('b', async () => void sent.push('b'));
    await settle();
    expect(sent).toEqual([]);
    release();
    await settle();
    expect(sent).toEqual(['a', 'b']);
    expect([told.empty, box.empty]).toEqual([1, true]);
  });

  it('of the same key that have not left yet are sent once, and again when one has left', async () => {
    const { box } = outbox();
    let count = 0;
    let release = () => {};
    box.push('first', () => new Promise((done) => (release = done)));
    for (let time = 0; time < 5; time += 1) box.push('turn', async () => void (count += 1));
    box.push('first', async () => void (count += 10));
    release();
    await settle();
    expect(count).toBe(11);
  });

  it('wait while the box does not answer, keep their order, and are sent again by themselves', async () => {
    const { box, told } = outbox();
    const sent: string[] = [];
    let down = true;
    box.push('details', async () => {
      if (down) throw new ApiError(0, {});
      sent.push('details');
    });
    box.push('turn', async () => void sent.push('turn'));
    await settle();
    box.push('details', async () => void sent.push('late'));
    expect(told.held).toBeInstanceOf(ApiError);
    expect(box.has('turn')).toBe(true);
    down = false;
    await vi.advanceTimersByTimeAsync(2000);
    expect(sent).toEqual(['details', 'turn']);
    expect([told.held, box.empty]).toEqual([null, true]);
  });

  it('are sent at once when somebody asks for it', async () => {
    const { box } = outbox();
    let tries = 0;
    box.push('turn', async () => {
      tries += 1;
      if (tries === 1) throw new ApiError(507, {});
    });
    await settle();
    box.retry();
    await settle();
    expect([tries, box.empty]).toEqual([2, true]);
  });

  it('that the box will never take do not hold up the others', async () => {
    const { box, told } = outbox();
    let sent = false;
    box.push('large', async () => Promise.reject(new ApiError(413, {})));
    box.push('small', async () => void (sent = true));
    await settle();
    expect([told.refused.length, sent, told.held]).toEqual([1, true, null]);
  });
});

it.each([
  [0, false],
  [400, true],
  [401, false],
  [404, true],
  [413, true],
  [429, false],
  [503, false],
  [507, false],
])('status %i is final: %s', (status, expected) => expect(final(new ApiError(status, {}))).toBe(expected));
