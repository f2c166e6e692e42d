import { describe, expect, it } from 'vitest';
import { merge } from './merge';
import type { Turn } from './turn';

const turn = (id: string, text = id): Turn => ({ id, content: { role: 'user', text } });
const said = (turns: Turn[]) => turns.map(({ content }) => (content.role === 'user' ? content.text : ''));

describe('merging what the box has with what the tab has', () => {
  it.each([
    ['takes over what another tab has added', ['a'], ['a', 'b'], [], [], ['a', 'b']],
    ['keeps what is still to be sent, at the end', ['a', 'mine'], ['a', 'theirs'], ['mine'], [], ['a', 'theirs', 'mine']],
    ['lets go of what was deleted elsewhere', ['a', 'b'], ['a'], [], [], ['a']],
    ['does not bring back what is still to be deleted there', ['a'], ['a', 'b'], [], ['b'], ['a']],
    ['keeps the order of the box', ['b', 'a'], ['a', 'b'], [], [], ['a', 'b']],
  ])('%s', (_, here, there, pending, removed, expected) => {
    const turns = (ids: string[]) => ids.map((id) => turn(id));
    expect(said(merge(turns(here), turns(there), new Set(pending), new Set(removed)))).toEqual(expected);
  });

  it('takes the text of the box, but not over one that is still to be sent', () => {
    const here = [turn('a', 'old'), turn('b', 'changed here')];
    const there = [turn('a', 'changed there'), turn('b', 'old')];
    expect(said(merge(here, there, new Set(['b']), new Set()))).toEqual(['changed there', 'changed here']);
  });
});
