/**
 * Blocks of an answer in groups. A growing answer changes its last group only, so what a change has
 * to look at stays small however long the answer is.
 */
import type { Block, List } from './parser';

export type Group = readonly Block[];

const LONGEST_GROUP = 32;
const LONGEST_LIST = 100;

/**
 * The group with more blocks, as one or several groups; the group itself stays as it was. Blocks that
 * go on with a list's item, which was cut, are `nested` in it.
 */
export function place(group: Group, blocks: Block[], nested: boolean): Group[] {
  const found: Block[][] = [[...group]];
  for (const [index, block] of blocks.entries()) {
    const into = found.at(-1)!;
    const last = into.at(-1);
    const joined = last && (index === 0 || nested) ? join(last, block, nested) : null;
    if (joined) into.splice(-1, 1, joined);
    else if (into.length < LONGEST_GROUP) into.push(numbered(last, block));
    else found.push([numbered(last, block)]);
  }
  return found;
}

/** What two blocks make together that are parts of one. */
function join(last: Block, next: Block, nested: boolean): Block | null {
  if (nested) return last.kind === 'list' ? inLastItem(last, next) : null;
  if (last.kind !== 'list' || next.kind !== 'list' || !isSameList(last, next)) return null;
  const items = [...last.items, ...next.items];
  return items.length > LONGEST_LIST ? null : { ...last, items };
}

/** A list that goes on where a full one ended. */
function numbered(last: Block | undefined, next: Block): Block {
  if (last?.kind !== 'list' || next.kind !== 'list' || !isSameList(last, next)) return next;
  return { ...next, start: last.start + last.items.length };
}

const isSameList = (last: List, next: List): boolean => last.ordered === next.ordered && last.mark === next.mark;

function inLastItem(list: List, block: Block): List {
  const item = list.items.at(-1)!;
  return { ...list, items: [...list.items.slice(0, -1), { ...item, blocks: [...item.blocks, block] }] };
}
