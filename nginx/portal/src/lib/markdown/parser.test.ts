import { describe, expect, it } from 'vitest';
import { mayFollow } from './links';
import { parse, type Inline } from './parser';

const inlines = (text: string): Inline[] => {
  const [block] = parse(text);
  return block?.kind === 'paragraph' ? block.inlines : [];
};
/** A short form that is easy to compare. */
const short = (parts: Inline[]): string =>
  parts
    .map((part) => {
      if (part.kind === 'text') return part.text;
      if (part.kind === 'code') return `code(${part.text})`;
      if (part.kind === 'math') return `math(${part.tex})`;
      if (part.kind === 'link') return `link(${part.href} ${short(part.inlines)})`;
      return `${part.kind}(${short(part.inlines)})`;
    })
    .join('');

describe('inside a line', () => {
  it.each([
    ['a `b*c*` d', 'a code(b*c*) d'],
    ['**a *b*** and ~~c~~', 'strong(a em(b)) and del(c)'],
    ['snake_case_name and 2 * 3 * 4', 'snake_case_name and 2 * 3 * 4'],
    ['**not closed `nor this', '**not closed `nor this'],
    ['a<br>b<br/>c', 'a\nb\nc'],
    ['<script>alert(1)</script>', '<script>alert(1)</script>'],
    ['[a](https://example.org/)', 'link(https://example.org/ a)'],
    ['<mailto:a@example.org>', 'link(mailto:a@example.org mailto:a@example.org)'],
    ['[a](javascript:alert(1))', '[a](javascript:alert(1))'],
    ['[a](/settings)', '[a](/settings)'],
    ['[a](data:text/html,x)', '[a](data:text/html,x)'],
    ['![a picture](https://example.org/p.png)', 'link(https://example.org/p.png a picture)'],
    ['![a picture](blob:https://example.org/1)', '![a picture](blob:https://example.org/1)'],
    ['so $x^2$ and \\(y\\)', 'so math(x^2) and math(y)'],
    ['costs $5 and $10, or $5-$10', 'costs $5 and $10, or $5-$10'],
    ['$HOME/$USER and \\$1', '$HOME/$USER and $1'],
  ])('%s', (text, expected) => {
    expect(short(inlines(text))).toBe(expected);
  });
});

describe('blocks', () => {
  it('tells tasks from other items', () => {
    expect(parse('- [x] a\n- [ ] b\n- c')[0]).toMatchObject({
      items: [{ checked: true }, { checked: false }, { blocks: [{ inlines: [{ text: 'c' }] }] }],
    });
  });

  it('a table has its columns’ sides', () => {
    expect(parse('| a | b | c |\n|:--|:-:|---|\n| 1 | 2 | 3 |')[0]).toMatchObject({
      kind: 'table',
      aligns: ['left', 'center', undefined],
      rows: [[[{ text: '1' }], [{ text: '2' }], [{ text: '3' }]]],
    });
  });

  it.each(['$$\nx\n$$', '\\[ x \\]', '$$x$$'])('%j is a formula', (text) => {
    expect(parse(text)).toEqual([{ kind: 'math', tex: 'x' }]);
  });

  it('shows as text what is nested too deep to read', () => {
    const text = `${'>'.repeat(100)} a`;
    expect(parse(text)).toEqual([{ kind: 'paragraph', inlines: [{ kind: 'text', text }] }]);
  });
});

it.each([
  ['https://example.org/', true],
  ['http://example.org/', true],
  ['mailto:a@example.org', true],
  ['javascript:alert(1)', false],
  ['file:///etc/passwd', false],
  ['//example.org/', false],
])('a link to %s may be followed: %s', (address, expected) => {
  expect(mayFollow(address)).toBe(expected);
});
