/**
 * Formulas in TeX between `$…$`, `$$…$$`, `\(…\)` and `\[…\]`, as rules for markdown-it. Its tokens
 * `math_inline` and `math_block` hold the TeX; `info` is `display` for a formula on a line of its own.
 */
import type { MarkdownIt, StateBlock, StateInline } from 'markdown-it';

/** A formula is no longer than this; so what is searched for a closing mark stays bounded. */
export const LONGEST_FORMULA = 2000;

const BACKSLASH = 0x5c;
const DOLLAR = 0x24;

export function formulas(md: MarkdownIt): void {
  md.inline.ruler.before('escape', 'math_inline', inline);
  md.block.ruler.before('fence', 'math_block', block, { alt: ['paragraph', 'reference', 'blockquote', 'list'] });
}

function inline(state: StateInline, silent: boolean): boolean {
  const found = formulaAt(state.src, state.pos, state.posMax);
  if (!found) return false;
  if (!silent) {
    const token = state.push('math_inline', 'math', 0);
    token.content = found.tex;
    token.info = found.display ? 'display' : '';
  }
  state.pos = found.end;
  return true;
}

function block(state: StateBlock, startLine: number, endLine: number, silent: boolean): boolean {
  const from = state.bMarks[startLine]! + state.tShift[startLine]!;
  const open = state.src.slice(from, from + 2);
  if (open !== '$$' && open !== '\\[') return false;
  const close = open === '$$' ? '$$' : '\\]';
  let tex = '';
  for (let line = startLine; line < endLine && tex.length <= LONGEST_FORMULA; line += 1) {
    if (line > startLine && state.sCount[line]! < state.blkIndent && !state.isEmpty(line)) return false;
    const start = line === startLine ? from + 2 : state.bMarks[line]! + state.tShift[line]!;
    const text = state.src.slice(start, state.eMarks[line]);
    const at = text.indexOf(close);
    if (at < 0) {
      tex += `${text}\n`;
      continue;
    }
    // What follows on the closing line makes it a formula inside a paragraph.
    tex += text.slice(0, at);
    if (text.slice(at + 2).trim() !== '' || tex.trim() === '' || tex.length > LONGEST_FORMULA) return false;
    if (silent) return true;
    const token = state.push('math_block', 'math', 0);
    token.block = true;
    token.content = tex.trim();
    token.info = 'display';
    token.map = [startLine, line + 1];
    state.line = line + 1;
    return true;
  }
  return false;
}

interface Formula {
  tex: string;
  display: boolean;
  end: number;
}

function formulaAt(text: string, from: number, most: number): Formula | null {
  const mark = text.charCodeAt(from);
  const next = text[from + 1];
  if (mark === BACKSLASH && next === '(') return between(text, from + 2, most, '\\)', false);
  if (mark === BACKSLASH && next === '[') return between(text, from + 2, most, '\\]', true);
  if (mark !== DOLLAR) return null;
  return next === '$' ? between(text, from + 2, most, '$$', true) : single(text, from + 1, most);
}

function between(text: string, from: number, most: number, close: string, display: boolean): Formula | null {
  const within = text.slice(from, Math.min(most, from + LONGEST_FORMULA + close.length));
  const at = within.indexOf(close);
  const tex = within.slice(0, Math.max(at, 0)).trim();
  return tex === '' ? null : { tex, display, end: from + at + close.length };
}

/** `$…$`, told apart from sums of money: no blank inside the marks, nothing written on after them. */
function single(text: string, from: number, most: number): Formula | null {
  const limit = Math.min(most, from + LONGEST_FORMULA);
  if (from >= limit || isBlank(text[from]!)) return null;
  for (let at = from; at < limit; at += 1) {
    const char = text.charCodeAt(at);
    if (char === BACKSLASH) at += 1;
    else if (char === DOLLAR) {
      const ends = at > from && !isBlank(text[at - 1]!) && !(at + 1 < most && isWord(text.charCodeAt(at + 1)));
      return ends ? { tex: text.slice(from, at), display: false, end: at + 1 } : null;
    }
  }
  return null;
}

const isBlank = (char: string): boolean => char === ' ' || char === '\t' || char === '\n';

const isWord = (char: number): boolean =>
  (char >= 0x30 && char <= 0x39) || (char >= 0x41 && char <= 0x5a) || (char >= 0x61 && char <= 0x7a);
