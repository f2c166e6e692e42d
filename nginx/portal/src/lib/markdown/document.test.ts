import { describe, expect, it } from 'vitest';
import { Document, LONGEST_PIECE, LONGEST_STEP } from './document';
import type { Block, Inline } from './parser';

/** Everything that a reader can see, in order. */
export function textOf(blocks: readonly Block[]): string {
  const inline = (part: Inline): string => {
    if (part.kind === 'math') return part.tex;
    return 'text' in part ? part.text : part.inlines.map(inline).join('');
  };
  const row = (cells: Inline[][]) => cells.map((cell) => cell.map(inline).join('')).join('|');
  const block = (one: Block): string => {
    switch (one.kind) {
      case 'paragraph':
      case 'heading':
        return one.inlines.map(inline).join('');
      case 'list':
        return one.items.map((item) => textOf(item.blocks)).join('\n');
      case 'quote':
        return textOf(one.blocks);
      case 'code':
        return one.parts.join('');
      case 'table':
        return [one.head, ...one.rows].map(row).join('\n');
      case 'math':
        return one.tex;
      case 'rule':
        return '';
    }
  };
  return blocks.map(block).join('\n');
}

function all(document: Document): Block[] {
  return document.groups.flat();
}

function read(text: string): Block[] {
  const document = new Document();
  document.update(text, true);
  while (document.step());
  return all(document);
}

/** Feeds a text in pieces of `size`, with a picture after each, and returns the document. */
function stream(text: string, size: number): Document {
  const document = new Document();
  for (let end = size; end < text.length; end += size) {
    document.update(text.slice(0, end), false);
    while (document.step());
    void document.groups;
  }
  document.update(text, true);
  while (document.step());
  return document;
}

const filled = (unit: string, length: number) => unit.repeat(Math.ceil(length / unit.length)).slice(0, length);

const MIXED = `# Title

A paragraph with **strong**, *em*, ~~gone~~, \`code\` and $x^2$.
Second line.

1. one
   - nested
     - deeper

   \`\`\`python
   print(1)

   print(2)
   \`\`\`
2. two

3. three
* a bullet
* [x] done

| a | b |
|---|:-:|
| 1 | 2 |

> quoted
> - list

\`\`\`js
let a = 1;

- not a list
\`\`\`
$$
a
+ b
$$
<script>alert(1)</script>

    indented

    code

---
last [link](https://example.org/a)`;

describe('a text that grows', () => {
  it.each([1, 2, 3, 7, 50])('becomes the same blocks when it comes %i characters at a time', (size) => {
    expect(all(stream(MIXED, size))).toEqual(read(MIXED));
  });

  it('has its blocks', () => {
    expect(read(MIXED).map(({ kind }) => kind)).toEqual(
      ['heading', 'paragraph', 'list', 'list', 'table', 'quote', 'code', 'math', 'paragraph', 'code', 'rule', 'paragraph'],
    );
    expect(read(MIXED)[2]).toMatchObject({ ordered: true, start: 1, items: [{}, {}, {}] });
  });

  it('keeps what is finished as it is', () => {
    const document = new Document();
    document.update(filled('A paragraph.\n\n', 3000), false);
    while (document.step());
    const before = document.groups;
    document.update(`${filled('A paragraph.\n\n', 3000)}One more`, false);
    while (document.step());
    const same = document.groups.filter((group, index) => group === before[index]);
    expect(before.length).toBeGreaterThan(5);
    expect(same.length).toBe(before.length - 1);
  });

  it('starts again when it becomes another text', () => {
    const document = new Document();
    document.update('# One\n\ntwo', false);
    while (document.step());
    document.update('Other', true);
    while (document.step());
    expect(all(document)).toEqual([{ kind: 'paragraph', inlines: [{ kind: 'text', text: 'Other' }] }]);
  });

  it.each([
    ['a fence', 'text\n\n``', 'text'],
    ['a list’s mark', 'text\n\n1', 'text'],
    ['the end of code', '```\ncode\n``', 'code\n'],
  ])('does not show half of %s', (_name, text, shown) => {
    const document = new Document();
    document.update(text, false);
    while (document.step());
    expect(textOf(all(document))).toBe(shown);
  });

  it('holds code open until its fence ends', () => {
    const code = (text: string) => all(stream(text, 3)).find(({ kind }) => kind === 'code');
    expect(code('```js\nlet a')).toMatchObject({ language: 'js', parts: ['let a'], whole: true });
    const document = new Document();
    document.update('```js\nlet a\n', false);
    while (document.step());
    expect(all(document)).toEqual([{ kind: 'code', language: 'js', parts: ['let a\n'], whole: false }]);
  });

  it('uses a link’s definition that came before, and none that is still being written', () => {
    const text = '[a]: https://example.org/long/path\n\nsee [a]';
    expect(all(stream(text, 1)).at(-1)).toEqual({
      kind: 'paragraph',
      inlines: [
        { kind: 'text', text: 'see ' },
        { kind: 'link', href: 'https://example.org/long/path', inlines: [{ kind: 'text', text: 'a' }] },
      ],
    });
  });
});

describe('a block without end', () => {
  const LENGTH = 100_000;
  const nested = () => {
    let text = '';
    for (let depth = 0; text.length < LENGTH; depth = (depth + 1) % 60) text += `${'  '.repeat(depth)}- item\n`;
    return text;
  };
  const ticks = () => {
    let text = '';
    for (let run = 1; text.length < LENGTH; run += 1) text += `${'`'.repeat(run)} `;
    return text;
  };
  const cases: [name: string, text: string][] = [
    ['prose', filled('Some **bold** text, `code` and [a link](https://example.org/z), and more words. ', LENGTH)],
    ['a word', filled('word', LENGTH)],
    ['lines', filled('a line of prose\n', LENGTH)],
    ['short paragraphs', filled('a\n\n', LENGTH)],
    ['code', `\`\`\`js\n${filled('const a = { b: [1, 2, 3] };\n', LENGTH)}`],
    ['a line of code', `\`\`\`js\n${filled('const a = { b: [1, 2, 3] };', LENGTH)}`],
    ['a table', `| a | b |\n|---|---|\n${filled('| some | **cells** |\n', LENGTH)}`],
    ['a wide table', `${filled('|a', 20_000)}\n${filled('|-', 20_000)}\n${filled('|b', 60_000)}`],
    ['a list', filled('- an item of a list\n', LENGTH)],
    ['a numbered list', filled('1. an item of a list\n', LENGTH)],
    ['one item', `- item\n${filled('  - a nested item\n', LENGTH)}`],
    ['code in an item', `1. item\n   \`\`\`js\n${filled('   const a = 1;\n\n', LENGTH)}`],
    ['a deep list', nested()],
    ['marks of lists', filled('- ', LENGTH)],
    ['a quote', filled('> quoted text\n', LENGTH)],
    ['marks of quotes', filled('>', LENGTH)],
    ['backticks', filled('`', 50_000)],
    ['runs of backticks', ticks()],
    ['brackets', filled('[', 50_000)],
    ['open links', filled('[a](', LENGTH)],
    ['open pictures', filled('![[](', LENGTH)],
    ['asterisks', filled('*', 50_000)],
    ['open emphasis', filled('*a **b _c ', LENGTH)],
    ['tildes', filled('~~a ~', LENGTH)],
    ['dollars', filled('$a ', LENGTH)],
    ['an open formula', `$$\n${filled('a + b\n', LENGTH)}`],
    ['tags', filled('<a ', LENGTH)],
    ['comments', filled('<!-- ', LENGTH)],
    ['entities', filled('&a;&', LENGTH)],
    ['definitions', filled('[a]: x\n', LENGTH)],
    ['underlines', filled('a\n-\n', LENGTH)],
    ['backslashes', filled('\\', LENGTH)],
    ['blanks', `a${filled(' ', LENGTH)}b`],
    ['empty lines', filled('\n', LENGTH)],
  ];

  it.each(cases)('of %s is read in steps of a bounded size, each character a few times', (_name, text) => {
    const document = new Document();
    document.update(text, true);
    let steps = 0;
    let before = 0;
    for (let more = true; more; steps += 1) {
      more = document.step();
      void document.groups;
      expect(document.parsed - before).toBeLessThan(6 * LONGEST_STEP);
      before = document.parsed;
    }
    expect(steps).toBeLessThanOrEqual(Math.ceil(text.length / (LONGEST_STEP / 2)) + 1);
    expect(document.parsed).toBeLessThan(4 * text.length);
  });

  it.each(cases)('of %s costs no more than its last piece for each picture while it grows', (_name, text) => {
    const size = 250;
    const document = stream(text, size);
    expect(document.parsed).toBeLessThan(4 * text.length + (text.length / size) * 2 * LONGEST_PIECE);
  });

  it.each(cases.filter(([name]) => !/definitions|wide table/.test(name)))('of %s loses nothing', (_name, text) => {
    const shown = textOf(read(text));
    const letters = (from: string) => from.replaceAll(/[^a-z]/g, '').length;
    const lost = letters(text.replaceAll('https://example.org/z', '').replace(/```js/, '')) - letters(shown);
    // A table that is cut shows its head again.
    expect(lost).toBeLessThanOrEqual(0);
  });

  it.each([
    ['code stays code', `\`\`\`js\n${filled('- a\n\n', 20_000)}\`\`\``, ['code']],
    ['an item keeps what is nested in it', `- item\n${filled('  - nested\n', 20_000)}`, ['list']],
    ['code in an item stays in it', `1. item\n   \`\`\`js\n${filled('   a\n\n   - b\n', 20_000)}   \`\`\`\n2. two`, ['list']],
  ])('%s', (_name, text, kinds) => {
    expect(read(text).map(({ kind }) => kind)).toEqual(kinds);
  });

  it('every part of a long table has its head', () => {
    const parts = read(`| a | b |\n|---|---|\n${filled('| 1 | 2 |\n', 20_000)}`);
    expect(parts.length).toBeGreaterThan(1);
    expect(parts.every((part) => part.kind === 'table' && part.head.length === 2)).toBe(true);
    expect(parts.reduce((sum, part) => sum + (part.kind === 'table' ? part.rows.length : 0), 0)).toBe(2000);
  });

  it('a long list goes on with its numbers', () => {
    const lists = read(filled('1. a\n', 5 * 250)).filter((block) => block.kind === 'list');
    expect(lists.map(({ start, items }) => [start, items.length])).toEqual([[1, 100], [101, 100], [201, 50]]);
  });

  it('no character is cut in half', () => {
    const text = filled('😀', 2 * LONGEST_PIECE + 1) + '\udc00';
    expect(textOf(read(`a${filled('😀', 3 * LONGEST_PIECE)}`)).replaceAll('\n', '')).toBe(`a${filled('😀', 3 * LONGEST_PIECE)}`);
    expect(() => read(text)).not.toThrow();
  });
});
