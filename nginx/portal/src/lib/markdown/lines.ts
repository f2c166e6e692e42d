/** What the beginning of a line says about the blocks of Markdown, as far as cutting needs it. */

export interface Fence {
  mark: string;
  language: string;
  /** Columns before it, which the code's lines lose too. */
  indent: number;
  line: string;
}

export type Opening = { indent: number } & (
  | { kind: 'blank' }
  /** More of the line must come first. */
  | { kind: 'undecided' }
  | { kind: 'fence'; fence: Fence }
  /** `offset` is the column that its content begins at. */
  | { kind: 'item'; offset: number; interrupts: boolean; content: string }
  | { kind: 'text' }
);

/** No beginning that means something is longer; a line that goes on is text. */
const LONGEST_OPENING = 200;
const TAB = 4;

/** Looks at a line, which is `whole` or still being written. */
export function look(line: string, whole: boolean): Opening {
  const { indent, at } = indentOf(line);
  const rest = line.slice(at).trimEnd();
  const undecided = !whole && line.length <= LONGEST_OPENING;
  if (rest === '') return { indent, kind: undecided ? 'undecided' : 'blank' };
  if (indent >= TAB) return { indent, kind: 'text' };
  const first = rest[0]!;
  if (first === '`' || first === '~') return fenceAt(line, indent, rest, undecided);
  if ('-*+'.includes(first) || isDigit(first)) return itemAt(line, at, indent, undecided);
  return { indent, kind: 'text' };
}

function fenceAt(line: string, indent: number, rest: string, undecided: boolean): Opening {
  const run = runOf(rest, rest[0]!);
  if (undecided && (run >= 3 || run === rest.length)) return { indent, kind: 'undecided' };
  const fence = line.length <= LONGEST_OPENING ? fenceOf(rest, indent) : null;
  return fence ? { indent, kind: 'fence', fence } : { indent, kind: 'text' };
}

/** The fence that a text without indentation opens. */
export function fenceOf(text: string, indent: number): Fence | null {
  const first = text[0];
  if (first !== '`' && first !== '~') return null;
  const mark = first.repeat(runOf(text, first));
  const info = text.slice(mark.length).trim();
  if (mark.length < 3 || text.length > LONGEST_OPENING || (first === '`' && info.includes('`'))) return null;
  return { mark, language: info.split(' ', 1)[0]!, indent, line: text.trimEnd() };
}

/** Whether a line closes a fence. */
export function closes(line: string, fence: Fence): boolean {
  const text = line.trim();
  return text.length >= fence.mark.length && runOf(text, fence.mark[0]!) === text.length;
}

/** Whether a line that is still being written may come to close it. */
export function mayClose(line: string, fence: Fence): boolean {
  const text = line.trim();
  return line.length <= LONGEST_OPENING && runOf(text, fence.mark[0]!) === text.length;
}

function itemAt(line: string, at: number, indent: number, undecided: boolean): Opening {
  let end = at;
  while (end - at < 9 && isDigit(line[end] ?? '')) end += 1;
  const number = line.slice(at, end);
  const delimiter = line[end];
  const isMark = number === '' ? '-*+'.includes(delimiter!) : delimiter === '.' || delimiter === ')';
  if (isMark) end += 1;
  const content = line.slice(end).trimStart();
  if (undecided && (end === line.length || (isMark && content === ''))) return { indent, kind: 'undecided' };
  const blanks = line.length - end - content.length;
  if (!isMark || (blanks === 0 && content !== '')) return { indent, kind: 'text' };
  // More than four blanks begin code inside the item.
  const offset = indent + (end - at) + (blanks > TAB || content.trim() === '' ? 1 : blanks);
  return {
    indent,
    kind: 'item',
    offset,
    interrupts: content.trim() !== '' && (number === '' || Number(number) === 1),
    content,
  };
}

/** Whether the second line of a table, the one under its head. */
export function isDelimiterRow(line: string): boolean {
  const text = line.trim();
  if (!text.includes('-') || !(text.includes('|') || text.includes(':'))) return false;
  for (const char of text) if (!'|-: \t'.includes(char)) return false;
  return true;
}

/** The line without its first columns, as far as they are blank. */
export function dedent(line: string, columns: number): string {
  let column = 0;
  let at = 0;
  while (column < columns && (line[at] === ' ' || line[at] === '\t')) {
    column += line[at] === '\t' ? TAB - (column % TAB) : 1;
    at += 1;
  }
  return line.slice(at);
}

function indentOf(line: string): { indent: number; at: number } {
  let indent = 0;
  let at = 0;
  for (; line[at] === ' ' || line[at] === '\t'; at += 1) indent += line[at] === '\t' ? TAB - (indent % TAB) : 1;
  return { indent, at };
}

function runOf(text: string, char: string): number {
  let run = 0;
  while (text[run] === char) run += 1;
  return run;
}

const isDigit = (char: string): boolean => char >= '0' && char <= '9';
