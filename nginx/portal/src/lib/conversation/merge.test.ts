import { expect, it } from 'vitest';
import { merge } from './merge';
import type { Turn } from './turn';

const turn = (id: string, text = id): Turn => ({ id, content: { role: 'user', text } });
const none = new Set<string>();

it.each([
  ['takes what another tab has added', ['a'], ['a', 'b'], [], [], ['a', 'b']],
  ['keeps what this tab has still to send, at the end', ['a', 'mine'], ['a', 'theirs'], ['mine'], [], ['a', 'theirs', 'mine']],
  ['drops what was deleted elsewhere', ['a', 'b'], ['a'], [], [], ['a']],
  ['does not bring back what this tab is deleting', ['a'], ['a', 'b'], [], ['b'], ['a']],
  ['takes the order of the box', ['b', 'a'], ['a', 'b'], [], [], ['a', 'b']],
])('a merge %s', (_, here, there, pending, removed, wanted) => {
  const merged = merge(here.map((id) => turn(id)), there.map((id) => turn(id)), new Set(pending), new Set(removed));
  expect(merged.map(({ id }) => id)).toEqual(wanted);
});

it('a merge keeps the text that this tab is still writing, and takes any other', () => {
  const here = [turn('a', 'old'), turn('b', 'newer')];
  const there = [turn('a', 'changed'), turn('b', 'older')];
  expect(merge(here, there, new Set(['b']), none)).toEqual([turn('a', 'changed'), turn('b', 'newer')]);
});
