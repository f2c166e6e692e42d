import { describe, expect, it } from 'vitest';
import { parse, titleOf, within, type Chat } from './chats.svelte';

const chat = (id: string, characters: number): Chat => ({
  id,
  title: id,
  model: 'm',
  turns: [{ role: 'user', content: 'x'.repeat(characters) }],
});

describe('conversations kept in the browser', () => {
  it('are bounded in number and in size, the newest first', () => {
    const many = Array.from({ length: 60 }, (_, index) => chat(String(index), 10));
    expect(within(many).map(({ id }) => id)).toEqual(many.slice(0, 50).map(({ id }) => id));
    expect(within([chat('a', 1_500_000), chat('b', 1_500_000)]).map(({ id }) => id)).toEqual(['a']);
    expect(within([chat('huge', 3_000_000)]).length).toBe(1);
  });

  it('get a short name of their first question', () => {
    expect(titleOf('  What\n is it? ')).toBe('What is it?');
    expect(titleOf('word '.repeat(40)).length).toBeLessThanOrEqual(48);
  });

  it('are dropped when they cannot be read', () => {
    for (const stored of [null, '', '{', '{}', '[1, null]']) expect(parse(stored)).toEqual([]);
    expect(parse(JSON.stringify([chat('a', 1)])).length).toBe(1);
  });
});
