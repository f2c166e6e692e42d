/**
 * One piece of Markdown as plain data, by markdown-it's tokens. Components turn it into elements,
 * so no HTML is ever built from what a model says.
 */
import Markdown, { type Env, type StateInline, type Token } from 'markdown-it';
import { mayFollow } from './links';
import { formulas } from './math';

export type Inline =
  | { kind: 'text'; text: string }
  | { kind: 'code'; text: string }
  | { kind: 'strong' | 'em' | 'del'; inlines: Inline[] }
  | { kind: 'link'; href: string; inlines: Inline[] }
  | { kind: 'math'; tex: string; display: boolean };

export type Align = 'left' | 'center' | 'right' | undefined;
export type Row = Inline[][];

export interface Item {
  /** A task that is done or not; nothing for any other item. */
  checked?: boolean;
  blocks: Block[];
}

export interface List {
  kind: 'list';
  ordered: boolean;
  start: number;
  /** The mark of its items; only lists with the same one are one list. */
  mark: string;
  items: Item[];
}

export interface Table {
  kind: 'table';
  aligns: Align[];
  head: Row;
  rows: Row[];
}

export interface Code {
  kind: 'code';
  language: string;
  /** The code in parts, so that what is drawn anew while it grows stays small. */
  parts: string[];
  /** Nothing will follow. */
  whole: boolean;
}

export type Block =
  | { kind: 'paragraph'; inlines: Inline[]; tight?: boolean }
  | { kind: 'heading'; level: number; inlines: Inline[] }
  | { kind: 'quote'; blocks: Block[] }
  | { kind: 'math'; tex: string }
  | { kind: 'rule' }
  | List
  | Table
  | Code;

/** Deeper than this, nesting is no structure that helps a reader, and elements are costly. */
const DEEPEST = 40;

const markdown = new Markdown({ html: false, linkify: false, maxNesting: DEEPEST });
markdown.use(formulas);
// A link or picture whose address is refused here stays text.
markdown.validateLink = mayFollow;
markdown.inline.ruler.before('autolink', 'line_break', lineBreak);

/** Models write `<br>` where a table's cell needs a second line; it is the only tag that is read. */
function lineBreak(state: StateInline, silent: boolean): boolean {
  for (const tag of ['<br>', '<br/>', '<br />']) {
    if (!state.src.startsWith(tag, state.pos)) continue;
    if (!silent) state.push('hardbreak', 'br', 0);
    state.pos += tag.length;
    return true;
  }
  return false;
}

/** Reads a piece; `env` keeps link definitions from one piece to the next. */
export function parse(source: string, env: Env = {}, whole = true): Block[] {
  const tokens = markdown.parse(source, env);
  // The parser leaves out what is nested deeper; nothing of an answer may be lost.
  if (tokens.some(({ level }) => level >= DEEPEST - 1)) return [plain(source)];
  return new Reader(tokens, whole).blocks();
}

/** Reads a part of a line, which opens no block. */
export function parseLine(source: string, env: Env = {}): Block[] {
  const inlines = inlinesOf(markdown.parseInline(source, env)[0]!.children ?? []);
  return inlines.length > 0 ? [{ kind: 'paragraph', inlines }] : [];
}

/** Text as it was written. */
function plain(source: string): Block {
  return { kind: 'paragraph', inlines: [{ kind: 'text', text: source.trim() }] };
}

/** Takes markdown-it's flat list of tokens, block level first, for a tree. */
class Reader {
  #at = 0;

  constructor(
    private readonly tokens: Token[],
    private readonly whole: boolean,
  ) {}

  /** Blocks up to the closing token of whatever holds them. */
  blocks(): Block[] {
    const found: Block[] = [];
    while (this.#at < this.tokens.length && this.tokens[this.#at]!.nesting >= 0) {
      const block = this.#block(this.tokens[this.#at]!);
      if (block) found.push(block);
    }
    this.#at += 1;
    return found;
  }

  #block(token: Token): Block | null {
    this.#at += 1;
    switch (token.type) {
      case 'paragraph_open':
        return { kind: 'paragraph', inlines: this.#inline(), ...(token.hidden && { tight: true }) };
      case 'heading_open':
        return { kind: 'heading', level: Number(token.tag.slice(1)), inlines: this.#inline() };
      case 'blockquote_open':
        return { kind: 'quote', blocks: this.blocks() };
      case 'bullet_list_open':
      case 'ordered_list_open':
        return this.#list(token);
      case 'table_open':
        return this.#table();
      case 'fence':
      case 'code_block':
        return {
          kind: 'code',
          language: token.info.trim().split(/\s/, 1)[0]!,
          parts: [token.content],
          whole: this.whole,
        };
      case 'math_block':
        return { kind: 'math', tex: token.content };
      case 'hr':
        return { kind: 'rule' };
      default:
        return null;
    }
  }

  /** The inline content of a paragraph or a heading, with its closing token. */
  #inline(): Inline[] {
    const inlines = inlinesOf(this.tokens[this.#at]!.children ?? []);
    this.#at += 2;
    return inlines;
  }

  #list(open: Token): List {
    const items: Item[] = [];
    while (this.tokens[this.#at]!.nesting > 0) {
      this.#at += 1;
      items.push(item(this.blocks()));
    }
    this.#at += 1;
    const ordered = open.type === 'ordered_list_open';
    return { kind: 'list', ordered, start: Number(open.attrGet('start') ?? 1), mark: open.markup, items };
  }

  #table(): Table {
    const aligns: Align[] = [];
    const rows: Row[] = [];
    for (; this.tokens[this.#at]!.type !== 'table_close'; this.#at += 1) {
      const token = this.tokens[this.#at]!;
      if (token.type === 'tr_open') rows.push([]);
      if (token.type === 'th_open') aligns.push(alignOf(token));
      if (token.type === 'inline') rows.at(-1)!.push(inlinesOf(token.children ?? []));
    }
    this.#at += 1;
    return { kind: 'table', aligns, head: rows[0] ?? [], rows: rows.slice(1) };
  }
}

function alignOf(token: Token): Align {
  const style = String(token.attrGet('style') ?? '');
  return (['left', 'center', 'right'] as const).find((side) => style.endsWith(side));
}

/** Tells `[ ]` and `[x]` at the beginning of an item from its text. */
function item(blocks: Block[]): Item {
  const [first] = blocks;
  const text = first?.kind === 'paragraph' ? first.inlines[0] : undefined;
  if (first?.kind !== 'paragraph' || text?.kind !== 'text') return { blocks };
  const mark = text.text.slice(0, 4).toLowerCase();
  if (mark !== '[ ] ' && mark !== '[x] ') return { blocks };
  const inlines: Inline[] = [{ kind: 'text', text: text.text.slice(4) }, ...first.inlines.slice(1)];
  return { checked: mark === '[x] ', blocks: [{ ...first, inlines }, ...blocks.slice(1)] };
}

const WRAPPERS: Record<string, 'strong' | 'em' | 'del'> = { strong_open: 'strong', em_open: 'em', s_open: 'del' };

function inlinesOf(tokens: Token[]): Inline[] {
  const root: Inline[] = [];
  const open: Inline[][] = [root];
  const add = (inline: Inline) => open.at(-1)!.push(inline);
  const addText = (text: string) => {
    const last = open.at(-1)!.at(-1);
    if (last?.kind === 'text') last.text += text;
    else if (text !== '') add({ kind: 'text', text });
  };
  for (const token of tokens) {
    const wrapper = WRAPPERS[token.type];
    if (wrapper || token.type === 'link_open') {
      const inlines: Inline[] = [];
      add(wrapper ? { kind: wrapper, inlines } : { kind: 'link', href: String(token.attrGet('href')), inlines });
      open.push(inlines);
    } else if (token.nesting < 0) open.pop();
    else if (token.type === 'code_inline') add({ kind: 'code', text: token.content });
    else if (token.type === 'math_inline') add({ kind: 'math', tex: token.content, display: token.info !== '' });
    else if (token.type === 'image') addImage(token, add);
    else if (token.type === 'softbreak' || token.type === 'hardbreak') addText('\n');
    else addText(token.content);
  }
  return root;
}

/** No picture is loaded from elsewhere: its description leads to it instead. */
function addImage(token: Token, add: (inline: Inline) => void): void {
  const href = String(token.attrGet('src'));
  const inlines = inlinesOf(token.children ?? []);
  add({ kind: 'link', href, inlines: inlines.length > 0 ? inlines : [{ kind: 'text', text: href }] });
}
