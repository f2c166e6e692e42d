import { describe, expect, it } from 'vitest';
import { contentOf, ended, markdown, messages, searchable, titleOf, unfinished, type Answer, type Turn } from './turn';

const asked = (id: string, text: string): Turn => ({ id, content: { role: 'user', text } });
const answered = (id: string, text: string, state: 'answered' | 'writing' = 'answered'): Turn => ({
  id,
  content: { role: 'assistant', replies: [{ model: 'm', name: 'M', text, state }] },
});

describe('a conversation as a model reads it', () => {
  it('begins with its instructions, if it has any', () => {
    expect(messages([asked('1', 'hi')], ' ')).toEqual([{ role: 'user', content: 'hi' }]);
    expect(messages([asked('1', 'hi')], 'Be brief.')[0]).toEqual({ role: 'system', content: 'Be brief.' });
  });

  it('has roles that take turns, also after an answer of which nothing came', () => {
    const turns = [asked('1', 'one'), answered('2', ''), asked('3', 'two'), answered('4', 'yes'), asked('5', 'three')];
    expect(messages(turns, '')).toEqual([
      { role: 'user', content: 'one\n\ntwo' },
      { role: 'assistant', content: 'yes' },
      { role: 'user', content: 'three' },
    ]);
  });
});

describe('what the box kept', () => {
  it('is read as it was written', () => {
    const content: Answer = {
      role: 'assistant',
      replies: [{ model: 'm', name: 'M', text: 'a', state: 'answered', reasoning: 'b', tokens: 2, seconds: 1, full: true }],
      summary: { text: 's', model: null, method: 'single' },
      failure: { status: 0, type: 'unreachable' },
    };
    expect(contentOf(JSON.parse(JSON.stringify(content)))).toEqual(content);
  });

  it.each([null, 'text', {}, { role: 'tool' }, { role: 'assistant' }])('is left out when it is %j', (kept) => {
    expect(contentOf(kept)).toBeNull();
  });

  it('is made whole where parts of it are missing', () => {
    expect(contentOf({ role: 'assistant', replies: [{ model: 'm', state: 'new' }, null] })).toEqual({
      role: 'assistant',
      replies: [
        { model: 'm', name: 'm', text: '', state: 'stopped' },
        { model: '', name: '', text: '', state: 'stopped' },
      ],
    });
  });
});

describe('an answer', () => {
  it('that nobody writes any more is ended, with the reason', () => {
    const { content } = answered('1', 'half', 'writing');
    expect(unfinished(content)).toBe(true);
    ended(content as Answer, { status: 0 });
    expect(unfinished(content)).toBe(false);
    expect(content).toMatchObject({ failure: { status: 0 }, replies: [{ state: 'stopped', text: 'half' }] });
  });

  it('is found by its text and its summary, within bounds', () => {
    expect(searchable(answered('1', 'needle').content)).toBe('needle');
    expect(searchable(asked('1', 'x'.repeat(500_000)).content).length).toBe(200_000);
  });
});

it('a short name is made of the first question', () => {
  expect(titleOf('  What\n is it? ')).toBe('What is it?');
  expect(titleOf('word '.repeat(40)).length).toBeLessThanOrEqual(48);
});

it('a file of a conversation tells who said what', () => {
  const file = markdown('T', [asked('1', 'q'), answered('2', 'a')], { you: 'You', summary: 'Summary' });
  expect(file).toBe('# T\n\n## You\n\nq\n\n## M\n\na\n');
});
