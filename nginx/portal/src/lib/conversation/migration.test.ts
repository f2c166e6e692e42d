import { describe, expect, it } from 'vitest';
import { ApiError } from '../api';
import { move, parse, remaining, type Moved, type Store } from './migration';

const ids = ['1', '2', '3'].map((digit) => `${digit.repeat(8)}-0000-4000-8000-${digit.repeat(12)}`);
const old = (id: string) => ({
  id,
  title: `title ${id[0]}`,
  model: 'guide',
  turns: [
    { role: 'user', content: 'q' },
    { role: 'assistant', content: 'a', reasoning: 'r', cut: true },
  ],
});

function browser(stored: string | null): Store & { value: string | null } {
  return {
    value: stored,
    getItem() {
      return this.value;
    },
    setItem(_, value) {
      this.value = value;
    },
    removeItem() {
      this.value = null;
    },
  };
}

const kept = (store: { value: string | null }) => parse(store.value).map(({ id }) => id);

describe('conversations that an older version kept', () => {
  it('are moved whole, the oldest first, and leave nothing behind', async () => {
    const store = browser(JSON.stringify(ids.map(old)));
    const sent: Moved[] = [];
    await move(store, async (moved) => void sent.push(moved));
    expect(sent.map(({ id }) => id)).toEqual([...ids].reverse());
    expect(sent[0]).toMatchObject({
      details: { kind: 'chat', title: 'title 3', models: ['guide'] },
      turns: [
        { content: { role: 'user', text: 'q' } },
        { content: { role: 'assistant', replies: [{ model: 'guide', text: 'a', reasoning: 'r', state: 'stopped' }] } },
      ],
    });
    expect(store.value).toBeNull();
  });

  it('have the same ids when they are moved once more', () => {
    const turnIds = () => remaining(browser(JSON.stringify([old(ids[0]!)])))[0]!.turns.map(({ id }) => id);
    expect(turnIds()).toEqual(turnIds());
    expect(new Set(turnIds()).size).toBe(2);
    for (const id of turnIds()) expect(id).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  });

  it.each([[0], [404], [507]])('stay when the box answers with %i, except those that it has', async (status) => {
    const store = browser(JSON.stringify(ids.map(old)));
    const failing = move(store, async ({ id }) => {
      if (id !== ids[2]) throw new ApiError(status, {});
    });
    await expect(failing).rejects.toBeInstanceOf(ApiError);
    expect(kept(store)).toEqual([ids[0], ids[1]]);
  });

  it('that the box will never take stay, and do not hold up the others', async () => {
    const store = browser(JSON.stringify(ids.map(old)));
    const failing = move(store, async ({ id }) => {
      if (id === ids[2]) throw new ApiError(413, {});
    });
    await expect(failing).rejects.toBeInstanceOf(ApiError);
    expect(kept(store)).toEqual([ids[2]]);
  });

  it('are none when they cannot be read', () => {
    for (const stored of [null, '', '{', '{}', '[1, null]', '[{"id":"x","turns":[]}]']) expect(parse(stored)).toEqual([]);
  });
});
