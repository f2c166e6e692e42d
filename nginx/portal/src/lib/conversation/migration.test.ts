import { describe, expect, it } from 'vitest';
import { ApiError } from '../api';
import { converted, forget, move, parse, remaining, type Store } from './migration';

const KEY = 'actionbooster.chats';
const ids = ['11111111-2222-4333-8444-555555555501', '11111111-2222-4333-8444-555555555502'];
const old = (id: string, title = id) => ({
  id,
  title,
  model: 'guide',
  turns: [
    { role: 'user', content: 'What?' },
    { role: 'assistant', content: 'That.', reasoning: 'hm', cut: true },
  ],
});

function store(chats: unknown): Store & { kept: () => string | null } {
  const kept = new Map([[KEY, JSON.stringify(chats)]]);
  return {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => void kept.set(key, value),
    removeItem: (key) => void kept.delete(key),
    kept: () => kept.get(KEY) ?? null,
  };
}

describe('conversations that an older version kept in the browser', () => {
  it('are sent the oldest first and removed when the box has them', async () => {
    const browser = store(ids.map((id) => old(id)));
    const sent: string[] = [];
    await move(browser, async ({ id }) => void sent.push(id));
    expect(sent).toEqual([...ids].reverse());
    expect(browser.kept()).toBeNull();
  });

  it('stay when the box does not have the whole of them', async () => {
    const browser = store(ids.map((id) => old(id)));
    const unreachable = new ApiError(0, { type: 'unreachable' });
    const send = async ({ id }: { id: string }) => {
      if (id === ids[0]) throw unreachable;
    };
    await expect(move(browser, send)).rejects.toBe(unreachable);
    expect(remaining(browser).map(({ id }) => id)).toEqual([ids[0]]);
  });

  it('do not hold each other up when the box refuses one for good', async () => {
    const browser = store(ids.map((id) => old(id)));
    const large = new ApiError(413, {});
    const send = async ({ id }: { id: string }) => {
      if (id === ids[1]) throw large;
    };
    await expect(move(browser, send)).rejects.toBe(large);
    expect(remaining(browser).map(({ id }) => id)).toEqual([ids[1]]);
  });

  it('stay all of them with a box that keeps none', async () => {
    const browser = store(ids.map((id) => old(id)));
    await expect(move(browser, () => Promise.reject(new ApiError(404, {})))).rejects.toBeInstanceOf(ApiError);
    expect(remaining(browser)).toHaveLength(2);
  });

  it('become the same turns however often they are sent', () => {
    const [first, second] = [converted(old(ids[0]!)), converted(old(ids[0]!))];
    expect(first).toEqual(second);
    expect(new Set(first.turns.map(({ id }) => id)).size).toBe(2);
    for (const { id } of first.turns) expect(id).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(first.turns[1]!.content).toEqual({
      role: 'assistant',
      replies: [{ model: 'guide', name: 'guide', text: 'That.', state: 'stopped', reasoning: 'hm' }],
    });
  });

  it('get a title that the box takes, with no character cut in two', () => {
    const { title } = converted(old(ids[0]!, `${'x'.repeat(199)}😀😀`)).details;
    expect(title).toBe('x'.repeat(199));
    expect(converted(old(ids[0]!, '')).details.title).toBe('What?');
  });

  it.each([null, '', '{', '{}', '[{"id":"no uuid","turns":[]}]', `[{"id":"${ids[0]}"}]`, '[null]'])('that cannot be read (%s) are none', (kept) => {
    expect(parse(kept)).toEqual([]);
  });

  it('are removed one by one', () => {
    const browser = store(ids.map((id) => old(id)));
    forget(browser, ids[0]!);
    expect(remaining(browser).map(({ id }) => id)).toEqual([ids[1]]);
    forget(browser, ids[1]!);
    expect(browser.kept()).toBeNull();
  });
});
