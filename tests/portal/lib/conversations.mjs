/** Conversations as an owner has them: kept on the box, seen in every tab, and not lost by whatever happens. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

/** A model answers within this. */
const ANSWER_LIMIT_MS = 240_000;
/** What one tab does is seen in another within this. */
const SEEN_LIMIT_MS = 15_000;
const FIRST = '¿Qué es ActionBooster?';
const SECOND = '¿Qué es el modo en línea?';
const KEPT_BY_OLDER = '6d1f0e6a-52c4-4c53-9a39-0b6f3a1f7a11';

/** What the page shows of the conversation that is open. */
function parts(page) {
  const turns = page.getByTestId('turns');
  return {
    questions: turns.locator('li.user'),
    answers: turns.locator('li.assistant'),
    kept: page.getByRole('navigation', { name: 'Conversaciones' }),
    draft: page.getByLabel('Escribe un mensaje'),
    send: page.getByRole('button', { name: 'Enviar' }),
    stop: page.getByRole('button', { name: 'Parar' }),
  };
}

/** Waits until so many answers are there and none of them is being written. */
function settled(page, count) {
  return page.waitForFunction(
    (wanted) => {
      const all = document.querySelectorAll('[data-testid="turns"] li.assistant');
      return all.length === wanted && [...all].every((one) => one.getAttribute('aria-busy') === 'false');
    },
    count,
    { timeout: ANSWER_LIMIT_MS },
  );
}

/** Begins a conversation and waits for its answer. */
async function begin(page, question) {
  await page.getByTestId('new-conversation').click();
  await page.waitForFunction(() => location.pathname === '/chat' && !document.querySelector('[data-testid="turns"]'));
  await say(page, question, 1);
  return page.url();
}

async function say(page, question, answers) {
  const { draft, send } = parts(page);
  await draft.fill(question);
  await send.click();
  await settled(page, answers);
}

/** Waits until the box has what the tab has. */
function sent(page, turns) {
  return page.waitForFunction(
    async (wanted) => {
      const answer = await fetch(`/api/v1/conversations/${location.pathname.split('/')[2]}`);
      if (!answer.ok) return false;
      const kept = (await answer.json()).turns;
      const state = (turn) => turn.content.replies?.some((reply) => reply.state === 'waiting' || reply.state === 'writing');
      return kept.length === wanted && !kept.some(state);
    },
    turns,
    { timeout: SEEN_LIMIT_MS, polling: 200 },
  );
}

/** Has the tab send what the box does not have, unless it has done so by itself just now. */
async function sendNow(page) {
  const told = page.getByTestId('not-kept');
  await told.getByRole('button', { name: 'Enviarlo ahora' }).click({ timeout: SEEN_LIMIT_MS }).catch(() => undefined);
  await told.waitFor({ state: 'detached' });
}

/** In the page: the next answer begins, and never ends; its last piece comes again and again where that is asked for. */
function writeForEver({ text, again = '' }) {
  const real = globalThis.fetch;
  globalThis.fetch = async (input, init) => {
    if (!String(input?.url ?? input).includes('/v1/chat/completions')) return real(input, init);
    globalThis.fetch = real;
    const body = new ReadableStream({
      start(controller) {
        const write = (content) => {
          const chunk = JSON.stringify({ choices: [{ delta: { content } }] });
          controller.enqueue(new TextEncoder().encode(`data: ${chunk}\n\n`));
        };
        write(text);
        const writing = again === '' ? 0 : setInterval(() => write(again), 40);
        init.signal.addEventListener('abort', () => {
          clearInterval(writing);
          controller.error(init.signal.reason);
        });
      },
    });
    return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
  };
}

export async function converse({ page, context, owner, check, seen, shot, assertAccessible }) {
  const { questions, answers, kept, draft, send, stop } = parts(page);
  await page.getByRole('link', { name: 'Charla' }).click();

  await check('a conversation goes on turn by turn, and has an address', async () => {
    await begin(page, FIRST);
    await say(page, SECOND, 2);
    assert.match(await answers.first().innerText(), /ActionBooster/);
    assert.match(new URL(page.url()).pathname, /^\/chat\/[0-9a-f-]{36}$/);
    await shot(page, 'chat');
    await assertAccessible(page, 'a conversation');
  });
  await check('it is kept on the box and not in the browser', async () => {
    await sent(page, 4);
    const stored = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }));
    assert.ok(!stored.includes(FIRST) && !stored.includes(SECOND), stored);
    await page.reload();
    await settled(page, 2);
    assert.deepEqual(await questions.locator('.question').allInnerTexts(), [FIRST, SECOND]);
    await seen(kept.getByRole('link', { name: FIRST }).first());
  });
  await check('it is renamed, found, deleted, and had back', async () => {
    await page.getByRole('button', { name: 'Cambiar nombre' }).click();
    await page.getByLabel('Nombre de la conversación').fill('Sobre la caja');
    await page.getByRole('button', { name: 'Guardar', exact: true }).click();
    await seen(page.getByRole('heading', { level: 1, name: 'Sobre la caja' }));
    await seen(kept.getByRole('link', { name: 'Sobre la caja' }));
    await kept.getByRole('searchbox').fill('modo en línea');
    await seen(kept.getByRole('link', { name: 'Sobre la caja' }));
    await kept.getByRole('searchbox').fill('');
    await page.getByRole('button', { name: 'Borrar', exact: true }).click();
    await kept.getByRole('link', { name: 'Sobre la caja' }).waitFor({ state: 'detached' });
    await page.getByTestId('undo').getByRole('button', { name: 'Deshacer' }).click();
    await settled(page, 2);
    await seen(kept.getByRole('link', { name: 'Sobre la caja' }));
  });
  await check('instructions are kept, and it is saved as a file', async () => {
    await page.getByRole('button', { name: 'Instrucciones' }).click();
    await page.getByLabel('Instrucciones para el modelo').fill('Responde en verso.');
    await page.getByRole('dialog').getByRole('button', { name: 'Guardar' }).click();
    await page.waitForFunction(
      async () => (await (await fetch(`/api/v1/conversations/${location.pathname.split('/')[2]}`)).json()).system !== '',
      undefined,
      { polling: 200 },
    );
    const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Guardar como archivo' }).click()]);
    assert.equal(file.suggestedFilename(), 'Sobre la caja.md');
    const text = readFileSync(await file.path(), 'utf8');
    assert.ok(text.includes(FIRST) && text.includes(SECOND), text);
  });
  await check('all of them are saved as one file', async () => {
    const [file] = await Promise.all([
      page.waitForEvent('download'),
      kept.getByRole('link', { name: 'Guardarlas todas en un archivo' }).click(),
    ]);
    const { conversations } = JSON.parse(readFileSync(await file.path(), 'utf8'));
    assert.ok(conversations.some(({ title, turns }) => title === 'Sobre la caja' && turns.length === 4));
  });

  await check('Escape stops an answer, and what was written stays', async () => {
    await page.evaluate(writeForEver, { text: 'Hasta aquí llegó' });
    await draft.fill('¿Y después?');
    await draft.press('Enter');
    await seen(answers.last().getByText('Hasta aquí llegó'));
    await seen(stop);
    await page.keyboard.press('Escape');
    await settled(page, 3);
    await seen(answers.last().getByText('Se cortó aquí.'));
    await sent(page, 6);
  });
  await check('an answer is written anew in its place', async () => {
    await page.getByRole('button', { name: 'Responder de nuevo' }).click();
    await settled(page, 3);
    await answers.last().locator('[data-state="answered"]').waitFor({ timeout: ANSWER_LIMIT_MS });
    assert.equal(await answers.last().getByText('Hasta aquí llegó').count(), 0);
  });
  await check('a question is changed, and what followed goes after a question', async () => {
    await questions.nth(1).getByRole('button', { name: 'Cambiar la pregunta' }).click();
    await page.getByLabel('La pregunta, cambiada').fill(FIRST);
    await page.getByRole('button', { name: 'Que la respondan' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Que la respondan' }).click();
    await settled(page, 2);
    await sent(page, 4);
    await page.reload();
    await settled(page, 2);
    assert.deepEqual(await questions.locator('.question').allInnerTexts(), [FIRST, FIRST]);
  });
  await check('a reload in the middle of an answer keeps what was written, and one tap has it answered', async () => {
    await page.evaluate(writeForEver, { text: 'Esto ya estaba escrito' });
    await draft.fill(SECOND);
    await draft.press('Enter');
    await seen(answers.last().getByText('Esto ya estaba escrito'));
    await page.reload();
    await seen(answers.last().getByText('Esto ya estaba escrito'));
    await seen(answers.last().getByText('Se cortó aquí.'));
    assert.equal(await questions.last().locator('.question').innerText(), SECOND);
    assert.equal(await draft.inputValue(), '');
    await page.getByRole('button', { name: 'Responder de nuevo' }).click();
    await answers.last().locator('[data-state="answered"]').waitFor({ timeout: ANSWER_LIMIT_MS });
  });
  await check('looking at another conversation does not cut the one that is being written', async () => {
    const there = page.url();
    await page.evaluate(writeForEver, { text: 'Sigue sola' });
    await draft.fill('¿Sigue?');
    await draft.press('Enter');
    await seen(answers.last().getByText('Sigue sola'));
    await page.getByTestId('new-conversation').click();
    await page.waitForFunction(() => !document.querySelector('[data-testid="turns"]'));
    await seen(kept.getByText('respondiendo').first());
    await kept.getByRole('link', { name: 'Sobre la caja' }).click();
    await seen(answers.last().getByText('Sigue sola'));
    assert.equal(page.url(), there);
    await stop.click();
    await settled(page, 4);
  });
  await check('the page follows what is written until the reader scrolls, and Stop stays in reach', async () => {
    const below = () => page.evaluate(() => document.documentElement.scrollHeight - innerHeight - scrollY);
    await page.evaluate(writeForEver, { text: 'Larga.\n\n', again: 'Y otra línea más.\n\n' });
    await draft.fill('¿Larga?');
    await draft.press('Enter');
    await page.waitForFunction(() => document.querySelector('[data-testid="turns"]').offsetHeight > 3 * innerHeight);
    assert.ok((await below()) < 200, `${await below()} pixels below what is seen`);
    await page.mouse.move(640, 300);
    await page.mouse.wheel(0, -700);
    await seen(page.getByRole('button', { name: 'Al final' }));
    const [place, height] = await page.evaluate(() => [scrollY, document.documentElement.scrollHeight]);
    await page.waitForFunction((before) => document.documentElement.scrollHeight > before + 300, height);
    assert.ok(Math.abs((await page.evaluate(() => scrollY)) - place) < 5, 'the page went on under the reader');
    const box = await stop.boundingBox();
    assert.ok(box.y > 0 && box.y + box.height <= page.viewportSize().height, `Stop is at ${box.y}`);
    await page.getByRole('button', { name: 'Al final' }).click();
    await page.waitForFunction(() => document.documentElement.scrollHeight - innerHeight - scrollY < 200);
    await stop.click();
    await settled(page, 5);
  });
  await check('what is being written survives a reload and another page', async () => {
    await draft.fill('Aún no enviado');
    await page.reload();
    await settled(page, 5);
    assert.equal(await draft.inputValue(), 'Aún no enviado');
    await page.getByRole('link', { name: 'La caja', exact: true }).click();
    await page.goBack();
    await settled(page, 5);
    assert.equal(await draft.inputValue(), 'Aún no enviado');
    await draft.fill('');
  });

  await check('a session that ends in the middle loses nothing, and one tap asks again', async () => {
    await context.clearCookies();
    await draft.fill('¿Y sin sesión?');
    await draft.press('Enter');
    await seen(page.getByText('Tu sesión ha terminado', { exact: false }).first());
    await page.getByLabel('Nombre').fill(owner.name);
    await page.getByLabel('Contraseña', { exact: true }).fill(owner.password);
    await page.getByRole('button', { name: 'Entrar' }).click();
    await seen(questions.last().getByText('¿Y sin sesión?'));
    await answers.last().getByRole('button', { name: 'Reintentar' }).click();
    await answers.last().locator('[data-state="answered"]').waitFor({ timeout: ANSWER_LIMIT_MS });
    await sent(page, 12);
  });

  await twoTabs(context, page, check, seen);

  await check('without the box it says so, keeps what was said, and sends it later', async () => {
    await begin(page, FIRST);
    await sent(page, 2);
    await page.route('**/api/v1/conversations/*/turns/*', (route) => route.abort());
    await say(page, SECOND, 2);
    await seen(page.getByTestId('not-kept'));
    await shot(page, 'chat-not-kept');
    await page.unroute('**/api/v1/conversations/*/turns/*');
    await sendNow(page);
    await sent(page, 4);
  });
  await check('a box without room says what to do', async () => {
    const problem = { type: 'disk-full', title: 'x', status: 507, detail: 'x' };
    await page.route('**/api/v1/conversations/*/turns/*', (route) =>
      route.fulfill({ status: 507, contentType: 'application/problem+json', body: JSON.stringify(problem) }),
    );
    await say(page, FIRST, 3);
    await seen(page.getByTestId('not-kept').getByText('no caben más', { exact: false }));
    await page.unroute('**/api/v1/conversations/*/turns/*');
    await sendNow(page);
    await sent(page, 6);
  });
  await check('what an older version kept in the browser moves to the box', async () => {
    await page.evaluate(
      ({ id }) => {
        const turns = [{ role: 'user', content: '¿De antes?' }, { role: 'assistant', content: 'De antes.' }];
        localStorage.setItem('actionbooster.chats', JSON.stringify([{ id, title: 'Una de antes', model: 'guide', turns }]));
      },
      { id: KEPT_BY_OLDER },
    );
    await page.reload();
    await kept.getByRole('link', { name: 'Una de antes' }).click();
    await seen(answers.last().getByText('De antes.'));
    assert.equal(await page.evaluate(() => localStorage.getItem('actionbooster.chats')), null);
    await page.reload();
    await seen(answers.last().getByText('De antes.'));
  });
  await check('with a box that keeps no conversations they live in the tab, which says so', async () => {
    const none = { type: 'not-found', title: 'x', status: 404, detail: 'x' };
    await page.route('**/api/v1/conversations**', (route) =>
      route.fulfill({ status: 404, contentType: 'application/problem+json', body: JSON.stringify(none) }),
    );
    await page.goto(new URL('/chat', page.url()).href);
    await page.locator('select option').first().waitFor({ state: 'attached' });
    await say(page, FIRST, 1);
    await seen(page.getByText('no guarda conversaciones', { exact: false }));
    await seen(kept.getByRole('link', { name: FIRST }));
    await page.unroute('**/api/v1/conversations**');
  });
  await check('one that is not there says so, and a new one begins from there', async () => {
    await page.goto(new URL(`/chat/${crypto.randomUUID()}`, page.url()).href);
    await seen(page.getByText('no está en la caja', { exact: false }));
    await page.getByTestId('new-conversation').click();
    await seen(page.getByRole('heading', { level: 1, name: 'Charla' }));
    await seen(draft);
  });
  await check('all are deleted after a question', async () => {
    await page.goto(new URL('/chat', page.url()).href);
    await kept.getByRole('button', { name: 'Borrarlas todas' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Borrarlas todas' }).click();
    await seen(kept.getByText('Aún no hay ninguna.'));
    const left = await page.evaluate(async () => (await (await fetch('/api/v1/conversations')).json()).conversations);
    assert.deepEqual(left, []);
  });
}

async function twoTabs(context, page, check, seen) {
  const other = await context.newPage();
  const here = parts(page);
  const there = parts(other);
  try {
    await check('two tabs show the same conversation, and each what the other one adds', async () => {
      const address = await begin(page, FIRST);
      await sent(page, 2);
      await other.goto(address);
      await settled(other, 1);
      await say(other, SECOND, 2);
      await here.questions.nth(1).getByText(SECOND).waitFor({ timeout: SEEN_LIMIT_MS });
      await settled(page, 2);
      await say(page, '¿Y esto?', 3);
      await there.questions.nth(2).getByText('¿Y esto?').waitFor({ timeout: SEEN_LIMIT_MS });
    });
    await check('two tabs that ask at the same time lose nothing', async () => {
      await sent(page, 6);
      await Promise.all([here.draft.fill('Desde la primera'), there.draft.fill('Desde la segunda')]);
      await Promise.all([here.send.click(), there.send.click()]);
      for (const tab of [page, other]) await settled(tab, 5);
      await sent(page, 10);
      for (const tab of [page, other]) {
        await tab.reload();
        await settled(tab, 5);
        const said = await parts(tab).questions.locator('.question').allInnerTexts();
        assert.deepEqual(said.slice(3).sort(), ['Desde la primera', 'Desde la segunda']);
        assert.ok((await parts(tab).answers.allInnerTexts()).every((text) => text.trim() !== ''));
      }
    });
    await check('a conversation that begins in one tab is in the list of the other', async () => {
      await begin(other, 'Solo en la segunda');
      await here.kept.getByRole('link', { name: 'Solo en la segunda' }).waitFor({ timeout: SEEN_LIMIT_MS });
    });
    await check('one that is deleted in another tab is told, and its text stays in sight', async () => {
      await here.kept.getByRole('link', { name: 'Solo en la segunda' }).click();
      await settled(page, 1);
      await other.getByRole('button', { name: 'Borrar', exact: true }).click();
      // The tab that deletes goes away: nobody takes it back any more.
      await other.goto('about:blank');
      await page.getByText('se borró en otra pestaña', { exact: false }).waitFor({ timeout: SEEN_LIMIT_MS });
      await seen(here.questions.first().getByText('Solo en la segunda'));
    });
  } finally {
    await other.close();
  }
}

/** Signs out, after a question and with something half written; nothing of either may stay. */
export async function leaveNothing({ page, check, seen }) {
  await check('conversations are in English too', async () => {
    await page.getByRole('link', { name: 'Chat' }).click();
    await page.locator('select option').first().waitFor({ state: 'attached' });
    await page.getByLabel('Write a message').fill('What is ActionBooster?');
    await page.getByRole('button', { name: 'Send' }).click();
    await settled(page, 1);
    await seen(page.getByRole('button', { name: 'Answer anew' }));
    await sent(page, 2);
    await page.getByLabel('Write a message').fill('half a secret');
  });
  await check('signing out leaves nothing of the owner in the browser', async () => {
    await page.getByRole('button', { name: 'Sign out' }).click();
    await seen(page.getByRole('heading', { level: 1, name: 'Sign in' }));
    const stored = await page.evaluate(async () => ({
      kept: JSON.stringify({ ...localStorage, ...sessionStorage }),
      keys: [...Object.keys(localStorage), ...Object.keys(sessionStorage)],
      databases: (await indexedDB.databases()).length,
      caches: (await caches.keys()).length,
    }));
    assert.ok(!/secret|ActionBooster\?/.test(stored.kept), stored.kept);
    assert.deepEqual(stored.keys.filter((key) => !/\.(?:language|theme)$/.test(key)), []);
    assert.deepEqual([stored.databases, stored.caches], [0, 0]);
    assert.ok(!(await page.content()).includes('What is ActionBooster?'));
  });
}
