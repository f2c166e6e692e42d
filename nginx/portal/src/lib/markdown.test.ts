import { describe, expect, it } from 'vitest';
import { inlines, parse, type Block } from './markdown';

/** A short form that is easy to compare: kind and text. */
function outline(text: string) {
  const flat = (block: Block): string => {
    switch (block.kind) {
      case 'rule':
        return '';
      case 'code':
      case 'table':
        return block.text;
      case 'list':
        return block.items.map((item) => item.map(({ text: part }) => part).join('')).join(' / ');
      default:
        return block.inlines.map(({ text: part }) => part).join('');
    }
  };
  return parse(text).map((block) => [block.kind, flat(block)]);
}

describe('blocks', () => {
  const cases: [name: string, text: string, expected: string[][]][] = [
    ['paragraphs end at an empty line', 'a\nb\n\nc', [['paragraph', 'a\nb'], ['paragraph', 'c']]],
    ['a heading loses its marks', '## Title ##\ntext', [['heading', 'Title'], ['paragraph', 'text']]],
    ['code keeps its lines', '```js\na  b\n\n# c\n```\nafter', [['code', 'a  b\n\n# c'], ['paragraph', 'after']]],
    ['code that is still being written reaches to the end', 'x\n```\na\nb', [['paragraph', 'x'], ['code', 'a\nb']]],
    ['bullets become one list', '- a\n* b\n\n- c', [['list', 'a / b / c']]],
    ['an indented line belongs to its item', '1. a\n   more\n2. b', [['list', 'a\nmore / b']]],
    ['a list ends at a plain line', '- a\n\ntext', [['list', 'a'], ['paragraph', 'text']]],
    ['a quote loses its marks', '> a\n> b', [['quote', 'a\nb']]],
    ['a rule stands alone', 'a\n\n---\n\nb', [['paragraph', 'a'], ['rule', ''], ['paragraph', 'b']]],
    ['a table stays as written', '| a | b |\n|---|---|\n| 1 | 2 |', [['table', '| a | b |\n|---|---|\n| 1 | 2 |']]],
    ['HTML is text', '<script>alert(1)</script>', [['paragraph', '<script>alert(1)</script>']]],
    ['nothing gives nothing', '\n \n', []],
  ];
  it.each(cases)('%s', (_name, text, expected) => {
    expect(outline(text)).toEqual(expected);
  });

  it('a numbered list keeps where it starts', () => {
    expect(parse('3. c')[0]).toMatchObject({ kind: 'list', ordered: true, start: 3 });
  });

  it('every beginning of a text can be read', () => {
    const text = '# a\n\n1. **b**\n   `c`\n\n```\nd\n```\n> e\n| f |\n* g\n---';
    for (let end = 0; end <= text.length; end += 1) expect(() => parse(text.slice(0, end))).not.toThrow();
  });
});

describe('inlines', () => {
  it.each([
    ['a `b*c*` d', [['text', 'a '], ['code', 'b*c*'], ['text', ' d']]],
    ['**a** and *b*', [['strong', 'a'], ['text', ' and '], ['em', 'b']]],
    ['snake_case_name', [['text', 'snake_case_name']]],
    ['2 * 3 * 4', [['text', '2 * 3 * 4']]],
    ['**not closed', [['text', '**not closed']]],
    ['`not closed', [['text', '`not closed']]],
  ])('of %s', (text, expected) => {
    expect(inlines(text).map(({ kind, text: part }) => [kind, part])).toEqual(expected);
  });
});
