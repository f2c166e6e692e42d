/**
 * An answer that grows, as blocks. The text is cut into pieces at the boundaries of its blocks, and
 * each piece is parsed for good once: while an answer is written, only its last piece is parsed
 * again. So the cost of an answer is linear in its length.
 *
 * No piece is longer than `LONGEST_PIECE`, because the parser needs time in the square of the length
 * for some texts, such as brackets that nothing closes, and because the last piece is parsed anew for
 * every picture. A longer block is cut: a list between and inside its items, a table between its rows (the next part shows its head again),
 * code between its lines, a paragraph between words. Marks that reach over such a cut are not seen.
 */
import type { Env } from 'markdown-it';
import { place, type Group } from './groups';
import { closes, dedent, fenceOf, isDelimiterRow, look, mayClose, type Fence, type Opening } from './lines';
import { parse, parseLine, type Block, type Code } from './parser';

export const LONGEST_PIECE = 2000;
/** Characters that one step reads at most. */
export const LONGEST_STEP = 2 * LONGEST_PIECE;
/** How far back a paragraph is searched for a blank to cut at. */
const WORD = 500;

/** Blocks that are parsed together. */
interface Piece {
  source: string;
  /** Where in `source` the last line begins. */
  line: number;
  /** Column of the content of the list's item that this is; 0 for anything else. */
  offset: number;
  /** Columns that each line loses: those of a list whose item was cut. */
  dedent: number;
  /** Lines to parse before it: what the piece before was cut in the middle of. */
  before: string;
  /** Whether it goes on with the last item of the piece before. */
  joins: boolean;
  /** Whether it is the rest of a line, which opens no block whatever it begins with. */
  inline: boolean;
  indented: boolean;
  blank: boolean;
  /** Code inside a list's item. */
  fence: Fence | null;
  /** What closes the formula that is open. */
  formula: string | null;
  /** Head of the table that it holds. */
  head: string;
}

export class Document {
  /** Characters that were given to the parser; tests hold it. */
  parsed = 0;

  #text = '';
  #ended = false;
  /** Characters of the text that are read. */
  #read = 0;
  #midLine = false;
  #piece: Piece | null = null;
  #code: Code | null = null;
  #fence: Fence | null = null;
  #closed: Group[] = [];
  #open: Group = [];
  #env: Env = { references: {} };
  #view: Group[] = [];
  /** Whether the view lacks what was read since. */
  #stale = false;

  /** The newest state of the text. What goes on from the last one costs only what is new. */
  update(text: string, ended: boolean): void {
    if (!text.startsWith(this.#text) || (this.#ended && text.length > this.#text.length)) this.#restart();
    this.#text = text;
    this.#ended = ended;
  }

  /**
   * Reads on until the text ends, `LONGEST_STEP` is reached or `late` says so, and returns whether
   * there is more to read.
   */
  step(late: () => boolean = () => false): boolean {
    const until = this.#read + LONGEST_STEP;
    let goesOn = true;
    do goesOn = this.#read < this.#text.length && this.#chunk();
    while (goesOn && this.#read < until && !late());
    if (this.#ended && this.#read === this.#text.length) this.#finish();
    return goesOn && this.#read < this.#text.length;
  }

  /** All blocks so far, in groups of which only the last one or two differ from the time before. */
  get groups(): Group[] {
    if (!this.#stale) return this.#view;
    this.#stale = false;
    const last = this.#piece ? place(this.#open, this.#parse(this.#piece, false), this.#piece.joins) : [this.#open];
    if (this.#code) last.push(...place(last.pop()!, [this.#code], false));
    this.#view = [...this.#closed, ...last];
    return this.#view;
  }

  #restart(): void {
    this.#read = 0;
    this.#midLine = false;
    this.#piece = null;
    this.#code = null;
    this.#closed = [];
    this.#open = [];
    this.#env = { references: {} };
    this.#stale = true;
  }

  /** Reads the rest of a line, or as much of it as a piece may hold. */
  #chunk(): boolean {
    const newline = this.#text.indexOf('\n', this.#read);
    const lineEnd = newline < 0 ? this.#text.length : newline + 1;
    const end = Math.min(lineEnd, this.#read + LONGEST_PIECE);
    const chunk = this.#text.slice(this.#read, end);
    const ends = end === lineEnd && (newline >= 0 || this.#ended);
    if (this.#midLine) this.#append(chunk);
    else if (!this.#begin(chunk, ends)) return false;
    this.#midLine = !ends;
    if (ends) this.#endLine();
    this.#read = end;
    this.#stale = true;
    return true;
  }

  /** Takes the beginning of a line, or says that more of it must come first. */
  #begin(line: string, whole: boolean): boolean {
    if (this.#code) return this.#beginCode(line, whole);
    const opening = look(line, whole);
    if (opening.kind === 'undecided') return false;
    if (opening.kind === 'blank') {
      const piece = this.#piece;
      const goesOn = piece && (piece.fence || piece.formula || piece.offset > 0 || piece.indented);
      if (!goesOn) this.#finish();
      else {
        piece.line = piece.source.length;
        piece.blank = true;
        this.#append(line);
      }
      return true;
    }
    if (this.#piece && this.#isBoundary(this.#piece, opening)) this.#finish();
    if (!this.#piece && opening.kind === 'fence') {
      this.#fence = opening.fence;
      this.#code = { kind: 'code', language: opening.fence.language, parts: [], whole: false };
      return true;
    }
    const offset = opening.kind === 'item' ? opening.offset : 0;
    this.#piece ??= start({ offset, indented: opening.indent >= 4 });
    this.#piece.line = this.#piece.source.length;
    this.#piece.blank = false;
    this.#append(dedent(line, this.#piece.dedent));
    return true;
  }

  /** Whether what a line opens is no part of the piece before it. */
  #isBoundary(piece: Piece, opening: Opening): boolean {
    const outside = opening.indent < piece.offset;
    if (piece.fence && outside) piece.fence = null;
    if (piece.fence || piece.formula) return false;
    if (opening.kind === 'fence') return piece.offset === 0 || outside;
    if (piece.offset > 0) return outside && (opening.kind === 'item' || piece.blank);
    if (piece.indented) return opening.indent < 4;
    return opening.kind === 'item' && opening.interrupts;
  }

  #beginCode(line: string, whole: boolean): boolean {
    const fence = this.#fence!;
    if (!whole && mayClose(line, fence)) return false;
    if (whole && closes(line, fence)) this.#finish();
    else this.#append(dedent(line, fence.indent));
    return true;
  }

  #append(text: string): void {
    if (this.#code) this.#code = { ...this.#code, parts: grown(this.#code.parts, text) };
    const piece = this.#piece;
    if (!piece) return;
    piece.source += text;
    if (piece.source.length > LONGEST_PIECE) this.#cut(piece);
  }

  /** Cuts a piece that became too long before its last line, or inside it if that is all of it. */
  #cut(piece: Piece): void {
    const at = piece.line > 0 ? piece.line : wordBefore(piece.source, LONGEST_PIECE);
    this.#cutAt(piece, at, piece.line === 0 && !piece.fence);
  }

  #cutAt(piece: Piece, at: number, inline: boolean): void {
    const rest = piece.source.slice(at);
    piece.source = piece.source.slice(0, at);
    const next = start({ offset: piece.offset, indented: piece.indented, inline });
    let columns = 0;
    if (piece.offset > 0) {
      const own = at === piece.line ? look(rest, true).indent : 0;
      columns = piece.fence?.indent ?? (piece.dedent > 0 ? own : Math.max(piece.offset, own));
      next.joins = true;
      next.dedent = piece.dedent + columns;
    }
    if (piece.fence) {
      next.before = `${piece.fence.line}\n`;
      next.fence = { ...piece.fence, indent: 0 };
    } else if (piece.head !== '') {
      next.before = piece.head;
      next.head = piece.head;
    }
    this.#close(piece);
    this.#piece = next;
    this.#append(dedent(rest, columns));
  }

  /** Keeps account of what the line that ended opens or closes. */
  #endLine(): void {
    const piece = this.#piece;
    if (!piece) return;
    if (piece.inline) return this.#cutAt(piece, piece.source.length, false);
    const line = piece.source.slice(piece.line);
    const text = line.trim();
    if (piece.fence) {
      if (closes(line, piece.fence)) piece.fence = null;
    } else if (piece.formula) {
      if (text.includes(piece.formula)) piece.formula = null;
    } else {
      const opening = look(line, true);
      const content = opening.kind === 'item' ? opening.content : text;
      if (piece.offset > 0) piece.fence = fenceOf(content, opening.kind === 'item' ? opening.offset : opening.indent);
      piece.formula = formulaOpenedBy(content);
      if (isDelimiterRow(line) && piece.offset === 0) piece.head = piece.source.slice(lineBefore(piece.source, piece.line));
      else if (text.startsWith('#') || text.startsWith('>')) piece.head = '';
    }
  }

  /** The piece and the code that are open are as long as they get. */
  #finish(): void {
    if (this.#code) this.#keep([{ ...this.#code, whole: true }], false);
    this.#code = null;
    if (this.#piece) this.#close(this.#piece);
    this.#piece = null;
  }

  #close(piece: Piece): void {
    this.#keep(this.#parse(piece, true), piece.joins);
  }

  #keep(blocks: Block[], joins: boolean): void {
    const groups = place(this.#open, blocks, joins);
    this.#open = groups.pop()!;
    this.#closed.push(...groups);
    this.#stale = true;
  }

  #parse(piece: Piece, whole: boolean): Block[] {
    const source = piece.inline ? piece.source : piece.before + piece.source;
    this.parsed += source.length;
    // What is not whole defines no links yet: their addresses may still grow.
    const env = whole ? this.#env : { references: Object.create(this.#env['references'] as object) };
    return piece.inline ? parseLine(source, env) : parse(source, env, whole);
  }
}

function start(known: Partial<Piece>): Piece {
  return {
    source: '',
    line: 0,
    offset: 0,
    dedent: 0,
    before: '',
    joins: false,
    inline: false,
    indented: false,
    blank: false,
    fence: null,
    formula: null,
    head: '',
    ...known,
  };
}

function formulaOpenedBy(text: string): string | null {
  if (text.startsWith('$$')) return text.includes('$$', 2) ? null : '$$';
  return text.startsWith('\\[') && !text.includes('\\]') ? '\\]' : null;
}

/** Where the line before the one at `at` begins. */
function lineBefore(text: string, at: number): number {
  return at < 2 ? 0 : text.lastIndexOf('\n', at - 2) + 1;
}

/** The code's parts with more text; a new one begins with a line. */
function grown(parts: string[], text: string): string[] {
  const last = parts.at(-1);
  const full = last === undefined || last.length + text.length > LONGEST_PIECE;
  return full ? [...parts, text] : [...parts.slice(0, -1), last + text];
}

/** The last place at or before `most` where a text may be cut. */
function wordBefore(text: string, most: number): number {
  for (let at = most; at > most - WORD; at -= 1) if (text[at - 1] === ' ') return at;
  const high = text.charCodeAt(most - 1);
  return high >= 0xd800 && high < 0xdc00 ? most - 1 : most;
}
