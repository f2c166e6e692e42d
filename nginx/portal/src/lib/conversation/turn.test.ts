import { describe, expect, it } from 'vitest';
import { contentOf, cut, ended, markdown, messages, searchable, titleOf, type Answer, type Content, type Turn } from './turn';

const answer = (text: string, more: Partial<Answer> = {}): Answer => ({
  role: 'assistant',
  replies: [{ model: 'm', name: 'M', text, state: 'answered' }],
  ...more,
});
const turns = (...contents: Content[]): Turn[] => contents.map((content, index) => ({ id: String(index), content }));

describe('the title of a conversation', () => {
  it.each([
    ['  What\n is   it? ', 'What is it?'],
    ['x'.repeat(48), 'x'.repeat(48)],
    ['x'.repeat(49), `${'x'.repeat(47)}…`],
    [`${'x'.repeat(46)}😀😀`, `${'x'.repeat(46)}…`],
  ])('of %j is %j', (question, expected) => {
    expect(titleOf(question)).toBe(expected);
  });
});

describe('cutting a text', () => {
  it('never leaves half a character', () => {
    expect(cut('a😀b', 2)).toBe('a');
    expect(cut('a😀b', 3)).toBe('a😀');
  });
});

describe('what the box kept of a turn', () => {
  it('comes back whole', () => {
    const whole = answer('Yes', {
      question: 'q',
      plan: { order: 'parallel', estimate_s: 3 },
      summary: {
        text: 'Yes',
        model: 'm',
        method: 'manual',
        points: [{ text: 'Yes', models: ['m'] }],
        left_out: [{ model: 'n', reason: 'empty' }],
      },
      failure: { status: 503 },
    });
    expect(contentOf(JSON.parse(JSON.stringify(whole)))).toEqual(whole);
  });

  it.each([null, 3, 'text', {}, { role: 'robot' }, { role: 'assistant', replies: 'none' }])('%j is not a turn', (kept) => {
    expect(contentOf(kept)).toBeNull();
  });

  it('of another version shows what is understood', () => {
    const kept = { role: 'assistant', replies: [{ model: 'm', text: 'Yes', state: 'dreaming', extra: 1 }], summary: { points: [{}, 3] } };
    expect(contentOf(kept)).toEqual({
      role: 'assistant',
      replies: [{ model: 'm', name: 'm', text: 'Yes', state: 'stopped' }],
      summary: { text: '', model: null, method: null, points: [{ text: '', models: [] }] },
    });
  });
});

describe('what a model reads', () => {
  it('begins with the instructions, takes turns, and leaves out answers of which nothing came', () => {
    const said = turns(
      { role: 'user', text: 'One' },
      answer(''),
      { role: 'user', text: 'Two' },
      answer('Answer'),
      { role: 'user', text: 'Three' },
    );
    expect(messages(said, 'Be brief.')).toEqual([
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'One\n\nTwo' },
      { role: 'assistant', content: 'Answer' },
      { role: 'user', content: 'Three' },
    ]);
  });
});

describe('an answer', () => {
  it('that nobody writes on is stopped, and what was answered stays so', () => {
    const content = answer('Yes');
    content.replies.push({ model: 'n', name: 'N', text: 'Y', state: 'writing' });
    ended(content, { status: 503 });
    expect(content.replies.map(({ state }) => state)).toEqual(['answered', 'stopped']);
    expect(content.failure).toEqual({ status: 503 });
  });

  it('is found by its summary and by what each model said', () => {
    expect(searchable(answer('Yes', { summary: { text: 'Sum', model: null, method: null } }))).toBe('Sum\n\nYes');
  });
});

describe('a conversation as a file', () => {
  it('names who says what', () => {
    const said = turns({ role: 'user', text: 'What?' }, answer('That.'));
    expect(markdown('Title', said, { you: 'You', summary: 'Summary' })).toBe('# Title\n\n## You\n\nWhat?\n\n## M\n\nThat.\n');
  });
});
