/**
 * The part of Markdown that models write, as plain data. Components turn it into elements, so
 * no HTML is ever built from what a model says. Links stay text: nothing here leads off the box.
 */
export type Inline =
  | { kind: 'text'; text: string }
  | { kind: 'code'; text: string }
  | { kind: 'strong'; text: string }
  | { kind: 'em'; text: string };

export type Block =
  | { kind: 'paragraph'; inlines: Inline[] }
  | { kind: 'heading'; inlines: Inline[] }
  | { kind: 'quote'; inlines: Inline[] }
  | { kind: 'list'; ordered: boolean; start: number; items: Inline[][] }
  | { kind: 'code'; language: string; text: string }
  | { kind: 'table'; text: string }
  | { kind: 'rule' };

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)/;
const HEADING = /^ {0,3}#{1,6}\s+(.*?)\s*#*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const BULLET = /^\s*[-*+•]\s+(.*)$/;
const NUMBER = /^\s*(\d{1,4})[.)]\s+(.*)$/;
const QUOTE = /^ {0,3}>\s?(.*)$/;
const ROW = /^\s*\|.*\|\s*$/;

/** Reads a text, which may stop anywhere: an unfinished code block reaches to its end. */
export function parse(text: string): Block[] {
  const lines = text.replace(/\r\n?/g, '\n').split('\n');
  const blocks: Block[] = [];
  let at = 0;

  const takeWhile = (matches: (line: string) => string | null): string[] => {
    const taken: string[] = [];
    for (; at < lines.length; at += 1) {
      const line = matches(lines[at]!);
      if (line === null) break;
      taken.push(line);
    }
    return taken;
  };

  while (at < lines.length) {
    const line = lines[at]!;
    const fence = FENCE.exec(line);
    if (fence) {
      at += 1;
      const mark = fence[1]!;
      const body = takeWhile((next) => (closes(next, mark) ? null : next));
      at += 1;
      blocks.push({ kind: 'code', language: fence[2]!, text: body.join('\n') });
    } else if (line.trim() === '') {
      at += 1;
    } else if (RULE.test(line)) {
      at += 1;
      blocks.push({ kind: 'rule' });
    } else if (HEADING.test(line)) {
      at += 1;
      blocks.push({ kind: 'heading', inlines: inlines(HEADING.exec(line)![1]!) });
    } else if (QUOTE.test(line)) {
      const body = takeWhile((next) => QUOTE.exec(next)?.[1] ?? null);
      blocks.push({ kind: 'quote', inlines: inlines(body.join('\n')) });
    } else if (ROW.test(line)) {
      blocks.push({ kind: 'table', text: takeWhile((next) => (ROW.test(next) ? next.trim() : null)).join('\n') });
    } else if (NUMBER.test(line) || BULLET.test(line)) {
      blocks.push(list(lines, at));
      at = listEnd(lines, at);
    } else {
      const body = takeWhile((next) => (next.trim() === '' || interrupts(next) ? null : next.trim()));
      blocks.push({ kind: 'paragraph', inlines: inlines(body.join('\n')) });
    }
  }
  return blocks;
}

function closes(line: string, mark: string): boolean {
  const trimmed = line.trim();
  return trimmed.startsWith(mark) && trimmed.replaceAll(mark[0]!, '') === '';
}

/** Whether a line begins something else than the paragraph before it goes on. */
function interrupts(line: string): boolean {
  return [FENCE, HEADING, RULE, QUOTE, ROW, BULLET, NUMBER].some((start) => start.test(line));
}

function list(lines: string[], from: number): Block {
  const ordered = NUMBER.test(lines[from]!);
  const items: string[] = [];
  for (const line of lines.slice(from, listEnd(lines, from))) {
    const item = (ordered ? NUMBER.exec(line)?.[2] : undefined) ?? BULLET.exec(line)?.[1];
    if (item !== undefined) items.push(item);
    else if (line.trim() !== '') items.push(`${items.pop() ?? ''}\n${line.trim()}`);
  }
  const start = ordered ? Number(NUMBER.exec(lines[from]!)![1]) : 1;
  return { kind: 'list', ordered, start, items: items.map(inlines) };
}

/** A list goes on over single empty lines, and over lines that are indented under an item. */
function listEnd(lines: string[], from: number): number {
  const same = NUMBER.test(lines[from]!) ? NUMBER : BULLET;
  const belongs = (line: string | undefined) =>
    line !== undefined && (same.test(line) || (/^\s{2,}\S/.test(line) && !FENCE.test(line.trim())));
  let at = from + 1;
  while (at < lines.length && (belongs(lines[at]) || (lines[at]!.trim() === '' && belongs(lines[at + 1])))) at += 1;
  return at;
}

const INLINE = /(`+)([^`]|[^`].*?[^`])\1(?!`)|\*\*(?=\S)(.+?\S|\S)\*\*|__(?=\S)(.+?\S|\S)__(?!\w)|(?<![\w*])\*(?=[^\s*])([^*\n]*[^\s*])\*(?![\w*])|(?<!\w)_(?=[^\s_])([^_\n]*[^\s_])_(?!\w)/gs;

/** Emphasis and code inside a line; what is not closed stays as it was written. */
export function inlines(text: string): Inline[] {
  const found: Inline[] = [];
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    if (match.index > from) found.push({ kind: 'text', text: text.slice(from, match.index) });
    const [whole, , code, strongStars, strongLines, emStar, emLine] = match;
    if (code !== undefined) found.push({ kind: 'code', text: code.trim() });
    else if (strongStars ?? strongLines) found.push({ kind: 'strong', text: (strongStars ?? strongLines)! });
    else found.push({ kind: 'em', text: (emStar ?? emLine)! });
    from = match.index + whole.length;
  }
  if (from < text.length) found.push({ kind: 'text', text: text.slice(from) });
  return found;
}
