import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { conversations } from './conversations.svelte';
import { keepDraft, readDraft } from './drafts';
import { FakeBox } from './fake-box';

const GUIDE = [{ id: 'guide', name: 'Guide' }];
const OLD = '11111111-2222-4333-8444-555555555501';
const CHATS = 'actionbooster.chats';
let box: FakeBox;
let stored: Map<string, string>;
let stop: () => void = () => undefined;

beforeEach(() => {
  vi.useFakeTimers();
  stored = new Map();
  vi.stubGlobal('localStorage', {
    get length() {
      return stored.size;
    },
    key: (index: number) => [...stored.keys()][index] ?? null,
    getItem: (key: string) => stored.get(key) ?? null,
    setItem: (key: string, value: string) => void stored.set(key, value),
    removeItem: (key: string) => void stored.delete(key),
  });
  vi.stubGlobal('addEventListener', () => undefined);
  vi.stubGlobal('navigator', { languages: ['en'] });
  box = new FakeBox();
  box.install();
});
afterEach(() => {
  stop();
  conversations.forget();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const settle = (milliseconds = 600) => vi.advanceTimersByTimeAsync(milliseconds);

async function start(): Promise<void> {
  stop = conversations.start('ana');
  await settle();
}

async function asked(question: string): Promise<string> {
  const conversation = conversations.begin('chat');
  void conversation.ask(question, GUIDE);
  conversations.keep(conversation);
  await settle();
  box.tell('conversation.changed', conversation.id);
  await settle();
  return conversation.id;
}

const titles = () => conversations.list.found.map(({ title }) => title);
const keepOld = () => {
  const turns = [{ role: 'user', content: 'Before?' }];
  stored.set(CHATS, JSON.stringify([{ id: OLD, title: 'Old', model: 'guide', turns }]));
};

describe('the conversations of an account', () => {
  it('are listed as they change, whoever changes them', async () => {
    await start();
    await asked('One');
    expect(titles()).toEqual(['One']);
    box.conversations.set(OLD, { details: { kind: 'chat', title: 'Elsewhere' }, turns: new Map() });
    box.tell('conversation.changed', OLD);
    await settle();
    expect(titles()).toEqual(['One', 'Elsewhere']);
    box.conversations.delete(OLD);
    box.tell('conversation.removed', OLD);
    await settle();
    expect(titles()).toEqual(['One']);
  });

  it('that were all deleted elsewhere are told as such', async () => {
    await start();
    const id = await asked('One');
    box.conversations.clear();
    box.tell('conversation.removed', null);
    await settle();
    expect(titles()).toEqual([]);
    expect(conversations.get(id, 'chat').gone).toBe(true);
  });

  it('are deleted after a while, and had back until then', async () => {
    await start();
    const id = await asked('One');
    conversations.remove(id, 'One');
    conversations.undo();
    await settle(20_000);
    expect(box.conversations.has(id)).toBe(true);
    conversations.remove(id, 'One');
    await settle(20_000);
    expect(box.conversations.has(id)).toBe(false);
    expect(titles()).toEqual([]);
  });

  it('go on while another one is looked at', async () => {
    await start();
    const id = await asked('One');
    const first = conversations.get(id, 'chat');
    let release: () => void = () => undefined;
    box.instead = (_, path) =>
      path.startsWith('/v1') ? new Promise((resolve) => (release = () => resolve(new Response('data: [DONE]\n\n')))) : null;
    void first.ask('Two', GUIDE);
    await settle();
    conversations.begin('chat');
    expect(conversations.running(id)).toBe(true);
    release();
    await settle();
    expect(conversations.running(id)).toBe(false);
    expect(conversations.get(id, 'chat')).toBe(first);
  });
});

describe('conversations of an older version', () => {
  it('move to the box once and leave the browser', async () => {
    keepOld();
    await start();
    expect(box.texts(OLD)).toEqual(['Before?']);
    expect(stored.has(CHATS)).toBe(false);
    expect(conversations.unmoved).toBeNull();
  });

  it('stay and are shown while the box cannot be told', async () => {
    keepOld();
    box.instead = (method) => {
      if (method === 'PUT') throw new TypeError('network');
      return null;
    };
    await start();
    expect(stored.has(CHATS)).toBe(true);
    expect(conversations.unmoved).not.toBeNull();
    expect(conversations.rows.map(({ title }) => title)).toEqual(['Old']);
    box.instead = () => null;
    await conversations.retry();
    expect(stored.has(CHATS)).toBe(false);
    expect(box.texts(OLD)).toEqual(['Before?']);
  });

  it('stay with a box that keeps none, which is told', async () => {
    keepOld();
    box.instead = (_, path) => (path.startsWith('/api/v1/conversations') ? new Response('{}', { status: 404 }) : null);
    await start();
    expect(conversations.list.keeping).toBe('tab');
    expect(stored.has(CHATS)).toBe(true);
    expect(conversations.rows.map(({ title }) => title)).toEqual(['Old']);
  });
});

describe('signing out', () => {
  it('leaves nothing of the account in the browser', async () => {
    keepOld();
    box.instead = (method) => {
      if (method === 'PUT') throw new TypeError('network');
      return null;
    };
    await start();
    await asked('A secret');
    keepDraft('ana', 'new-chat', 'half a secret');
    expect(await Promise.all([conversations.settle(), settle(5000)]).then(([unkept]) => unkept)).toBe(2);
    conversations.forget();
    expect([...stored.keys()]).toEqual([]);
    expect(conversations.rows).toEqual([]);
  });

  it('waits for what is being sent, and asks about nothing then', async () => {
    await start();
    await asked('One');
    const [unkept] = await Promise.all([conversations.settle(), settle(5000)]);
    expect(unkept).toBe(0);
  });
});

describe('a draft', () => {
  it('belongs to an account and a place', () => {
    keepDraft('ana', 'new-chat', 'half');
    expect(readDraft('ana', 'new-chat')).toBe('half');
    expect(readDraft('ana', 'new-ask')).toBe('');
    expect(readDraft('bea', 'new-chat')).toBe('');
    keepDraft('ana', 'new-chat', '');
    expect(stored.size).toBe(0);
  });

  it('is no matter of life and death to a browser that keeps nothing', () => {
    vi.stubGlobal('localStorage', undefined);
    keepDraft('ana', 'new-chat', 'half');
    expect(readDraft('ana', 'new-chat')).toBe('');
  });
});
