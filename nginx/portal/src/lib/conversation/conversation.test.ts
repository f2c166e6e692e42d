import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { changeOf } from './api';
import { Conversation } from './conversation.svelte';
import { chunks, FakeBox } from './fake-box';
import type { Answer, Turn } from './turn';

const GUIDE = [{ id: 'guide', name: 'Guide' }];
const ID = '11111111-2222-4333-8444-555555555555';
let box: FakeBox;

beforeEach(() => {
  vi.useFakeTimers();
  box = new FakeBox();
  box.install();
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const begin = (keeps = () => true) => {
  const conversation = new Conversation(ID, 'chat', keeps);
  conversation.loaded = true;
  return conversation;
};
const settle = () => vi.advanceTimersByTimeAsync(100);
const said = ({ turns }: { turns: Turn[] }) =>
  turns.map(({ content }) => (content.role === 'user' ? content.text : content.replies.map(({ text }) => text).join('|')));
const problem = (status: number) =>
  new Response(JSON.stringify({ status }), { status, headers: { 'content-type': 'application/problem+json' } });

async function asked(question = 'What?', tab = begin()): Promise<Conversation> {
  void tab.ask(question, GUIDE);
  await settle();
  expect(tab.running).toBeNull();
  return tab;
}

/** Another tab with the same conversation. */
async function another(): Promise<Conversation> {
  const tab = new Conversation(ID, 'chat', () => true);
  await tab.refresh();
  return tab;
}

describe('a conversation', () => {
  it('is on the box turn by turn, with its title and its models', async () => {
    const tab = await asked();
    expect(box.conversations.get(ID)?.details).toEqual({ kind: 'chat', title: 'What?', models: ['guide'], system: '' });
    expect(box.texts(ID)).toEqual(['What?', 'An answer.']);
    expect(tab.unkept).toBe(false);
    expect(said(await another())).toEqual(['What?', 'An answer.']);
  });

  it('keeps the name of the model with what it says', async () => {
    await asked();
    const answer = (await another()).turns[1]!.content as Answer;
    expect(answer.replies[0]).toMatchObject({ model: 'guide', name: 'Guide', state: 'answered' });
  });

  it('keeps an answer while it is being written, so that a reload finds it', async () => {
    box.says = (signal) => chunks(['Half an '], signal);
    const tab = begin();
    void tab.ask('What?', GUIDE);
    await vi.advanceTimersByTimeAsync(3100);
    expect(box.texts(ID)).toEqual(['What?', 'Half an ']);
    tab.leave();
    await settle();
    const answer = (await another()).turns[1]!.content as Answer;
    expect(answer.replies[0]).toMatchObject({ text: 'Half an ', state: 'stopped' });
    tab.stop();
  });

  it('keeps what was written when it is stopped', async () => {
    box.says = (signal) => chunks(['Half an '], signal);
    const tab = begin();
    void tab.ask('What?', GUIDE);
    await settle();
    tab.stop();
    await settle();
    expect(tab.running).toBeNull();
    expect(box.texts(ID)).toEqual(['What?', 'Half an ']);
    expect((tab.turns[1]!.content as Answer).failure).toBeUndefined();
  });

  it('says why an answer broke off, and one try more replaces it', async () => {
    box.instead = (_, path) => (path.startsWith('/v1') ? problem(503) : null);
    const tab = await asked();
    expect((tab.turns[1]!.content as Answer).failure?.status).toBe(503);
    box.instead = () => null;
    void tab.again(tab.turns[1]!.id, GUIDE);
    await settle();
    expect(said(tab)).toEqual(['What?', 'An answer.']);
    expect((tab.turns[1]!.content as Answer).failure).toBeUndefined();
    expect(box.texts(ID)).toEqual(['What?', 'An answer.']);
  });

  it('keeps the answer that was there when a new one does not begin', async () => {
    const tab = await asked();
    box.instead = (_, path) => (path.startsWith('/v1') ? problem(503) : null);
    void tab.again(tab.turns[1]!.id, GUIDE);
    await settle();
    expect(said(tab)).toEqual(['What?', 'An answer.']);
    expect((tab.turns[1]!.content as Answer).failure?.status).toBe(503);
  });

  it('changes a question: what followed goes, and is answered from there', async () => {
    const tab = await asked('One');
    await asked('Two', tab);
    expect(tab.after(tab.turns[0]!.id)).toHaveLength(2);
    void tab.edit(tab.turns[0]!.id, 'One, changed', GUIDE);
    await settle();
    expect(box.read).toEqual([{ role: 'user', content: 'One, changed' }]);
    expect(box.texts(ID)).toEqual(['One, changed', 'An answer.']);
    expect(said(tab)).toEqual(said(await another()));
  });

  it('has its instructions read before everything else', async () => {
    const tab = await asked();
    tab.instruct(' Be brief. ');
    await asked('More?', tab);
    expect(box.conversations.get(ID)?.details.system).toBe('Be brief.');
    expect(box.read).toEqual([
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'What?' },
      { role: 'assistant', content: 'An answer.' },
      { role: 'user', content: 'More?' },
    ]);
  });

  it('puts the question again that an answer belongs to, whatever stands between them', async () => {
    const tab = new Conversation(ID, 'ask', () => true);
    const question = (id: string, text: string): Turn => ({ id, content: { role: 'user', text } });
    const answer = (id: string, to: string): Turn => ({ id, content: { role: 'assistant', replies: [], question: to } });
    const turns = [question('q1', 'One'), question('q2', 'Two'), answer('a1', 'q1'), answer('a2', 'q2')];
    tab.adopt({ kind: 'ask', title: 'x', models: [], system: '' }, turns);
    void tab.again('a1', GUIDE);
    await settle();
    expect(box.read).toBe('One');
  });
});

describe('two tabs', () => {
  it('that ask at the same time lose nothing', async () => {
    const first = await asked('Zero');
    const second = await another();
    void first.ask('One', GUIDE);
    void second.ask('Two', GUIDE);
    await settle();
    for (const tab of [first, second]) await tab.refresh();
    expect(said(first)).toEqual(said(second));
    expect([...said(first)].sort()).toEqual(['An answer.', 'An answer.', 'An answer.', 'One', 'Two', 'Zero']);
  });

  it('do not take back each other’s changes of its name and its instructions', async () => {
    const first = await asked();
    const second = await another();
    first.rename('New name');
    second.instruct('Be brief.');
    await settle();
    expect(box.conversations.get(ID)?.details).toMatchObject({ title: 'New name', system: 'Be brief.' });
    expect(box.told.slice(1)).toEqual([{ title: 'New name' }, { system: 'Be brief.' }]);
  });

  it('do not lose what is being written to what the other one adds', async () => {
    const first = await asked();
    const second = await another();
    box.says = (signal) => chunks(['Half '], signal);
    void first.ask('Long?', GUIDE);
    await settle();
    box.says = () => chunks(['Quick.']);
    await asked('Short?', second);
    await first.refresh();
    expect(said(first)).toEqual(['What?', 'An answer.', 'Long?', 'Half ']);
    first.stop();
    await settle();
    expect(said(first)).toEqual(['What?', 'An answer.', 'Long?', 'Half ', 'Short?', 'Quick.']);
  });

  it('tell when one of them deletes it; what is asked next keeps all of it again', async () => {
    const tab = await asked();
    box.conversations.delete(ID);
    await tab.refresh();
    expect(tab.gone).toBe(true);
    expect(said(tab)).toEqual(['What?', 'An answer.']);
    await asked('Still there?', tab);
    expect(tab.gone).toBe(false);
    expect(box.texts(ID)).toEqual(['What?', 'An answer.', 'Still there?', 'An answer.']);
  });
});

describe('a box that', () => {
  it('cannot be reached gets everything later, in its order', async () => {
    box.instead = (method) => {
      if (method === 'PUT') throw new TypeError('network');
      return null;
    };
    const tab = await asked();
    expect(tab.unkept).toBe(true);
    expect(tab.held).not.toBeNull();
    box.instead = () => null;
    tab.retry();
    await settle();
    expect([tab.unkept, tab.held]).toEqual([false, null]);
    expect(box.texts(ID)).toEqual(['What?', 'An answer.']);
  });

  it('has no room is tried again, and the tab keeps everything', async () => {
    box.instead = (method) => (method === 'PUT' ? problem(507) : null);
    const tab = await asked();
    expect(tab.held).toMatchObject({ status: 507 });
    expect(said(tab)).toEqual(['What?', 'An answer.']);
  });

  it('never takes a turn does not make the tab lose it', async () => {
    const tab = await asked();
    box.instead = (method, path) => (method === 'PUT' && path.includes('/turns/') ? problem(413) : null);
    await asked('Too large?', tab);
    expect(tab.refused).toMatchObject({ status: 413 });
    box.instead = () => null;
    await tab.refresh();
    expect(said(tab)).toEqual(['What?', 'An answer.', 'Too large?', 'An answer.']);
    expect(tab.unkept).toBe(true);
  });

  it('has too many conversations is not taken for one that has deleted this one', async () => {
    box.instead = (method, path) => (method === 'PUT' && !path.includes('/turns/') ? problem(409) : null);
    const tab = await asked();
    expect([tab.gone, tab.unkept]).toEqual([false, true]);
    expect(tab.refused).toMatchObject({ status: 409 });
    box.instead = () => null;
    await asked('And now?', tab);
    expect(box.texts(ID)).toEqual(['What?', 'An answer.', 'And now?', 'An answer.']);
    expect([tab.refused, tab.unkept]).toEqual([null, false]);
  });

  it('keeps no conversations is told none', async () => {
    const tab = await asked('What?', begin(() => false));
    expect(said(tab)).toEqual(['What?', 'An answer.']);
    expect(box.asked).toEqual(['POST /v1/chat/completions']);
    expect(tab.unkept).toBe(true);
  });
});

describe('an event of the box', () => {
  it.each([
    ['conversation.changed', `{"id":"${ID}"}`, { kind: 'changed', id: ID }],
    ['conversation.removed', `{"id":"${ID}"}`, { kind: 'removed', id: ID }],
    ['conversation.removed', '{"id":null}', { kind: 'cleared' }],
    ['model.loaded', '{"model":"guide"}', null],
  ])('%s %s', (event, data, expected) => {
    expect(changeOf(event, data)).toEqual(expected);
  });
});
