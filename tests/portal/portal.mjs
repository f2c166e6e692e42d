/**
 * The portal as an owner meets it, in a real browser, against a running box.
 *
 *     node portal.mjs READY.json [--shots FOLDER]
 *
 * READY.json is what `cargo xtask dev` and `vm` write. With `claim_code` the box is claimed here
 * first; otherwise `owner` signs in. `--shots` keeps a picture of every view.
 */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { get as httpsGet } from 'node:https';
import { join } from 'node:path';
import { readAnswers } from './lib/answers.mjs';
import { assertAccessible, assertFits, launch, verifiedPin, Watch } from './lib/browser.mjs';
import { watchCameras } from './lib/cameras.mjs';
import { Tally } from './lib/tally.mjs';

const ANSWER_LIMIT_MS = 240_000;
const PAGE_LIMIT_MS = 20_000;
const PHONE = { width: 360, height: 740 };
const DESKTOP = { width: 1280, height: 850 };
const VIEWS = { ask: '/', chat: '/chat', gallery: '/gallery', cameras: '/cameras', models: '/models', box: '/box', space: '/space', settings: '/settings' };
/** The committed guide, which is added once more under another name. */
const GUIDE = new URL('../models/guide/guide.gguf', import.meta.url).pathname;
/** The committed detector, for the same. */
const SHAPES = new URL('../models/shapes/shapes.onnx', import.meta.url).pathname;
const QUESTION = '¿Qué es ActionBooster?';

const [readyPath, flag, shotsFolder] = process.argv.slice(2);
if (!readyPath || (flag && flag !== '--shots')) {
  console.error('usage: node portal.mjs READY.json [--shots FOLDER]');
  process.exit(64);
}
const ready = JSON.parse(readFileSync(readyPath, 'utf8'));
const base = new URL(ready.base_url).origin;
const owner = ready.owner ?? { name: 'ana', password: 'cuatro palabras muy corrientes' };
const tally = new Tally();
const check = (name, work) => tally.check(name, work);

let pin;
const trusted = await check('the certificate is signed by the box’s authority', async () => {
  pin = await verifiedPin(base, ready.ca_cert);
});
if (!trusted) process.exit(tally.finish());

const browser = await launch(pin);
const watch = new Watch(base);
try {
  const { context, page } = await visit({ locale: 'es-ES' });
  const inside = ready.claim_code ? await claim(page) : await signInFirst(page);
  if (inside) {
    await ask(page);
    await chat(page);
    await readAnswers({ page, check, shot, assertAccessible });
    await makeAndKeep(page);
    await keepModels(page);
    await keepDetectors(page);
    await watchCameras({ page, check, seen, shot, assertAccessible, assertFits });
    await seeBox(page);
    await changeSettings(page);
    await signInAgain(page, context);
    await troubles(page);
    await everywhere(await context.storageState());
  }
  await check('nothing was asked of another host, no policy was broken, no script failed', () => {
    assert.deepEqual(watch.faults, []);
  });
} finally {
  await browser.close();
}
process.exit(tally.finish());

async function claim(page) {
  const submit = () => page.getByRole('button', { name: 'Hacer mía la caja' }).click();
  const fill = async (code, name, password) => {
    await page.getByLabel('Código de la caja').fill(code);
    await page.getByLabel('Tu nombre').fill(name);
    await page.getByLabel('Contraseña', { exact: true }).fill(password);
  };
  await check('an unclaimed box asks to be claimed, in the browser’s language', async () => {
    await page.goto(base);
    await seen(page.getByRole('heading', { level: 1, name: 'Haz tuya esta caja' }));
    assert.equal(await page.getAttribute('html', 'lang'), 'es');
    assert.equal(new URL(page.url()).pathname, '/claim');
    await shot(page, 'claim');
  });
  await check('the claim form is accessible', () => assertAccessible(page, 'claim'));
  await check('an impossible code and a short password are named before anything is sent', async () => {
    await fill('K0QM', owner.name, 'corta');
    await submit();
    await seen(page.getByText('El código nunca contiene 0', { exact: false }));
    await seen(page.getByText('esta tiene 5', { exact: false }));
    assert.equal(await page.evaluate(() => document.activeElement.name), 'code');
    await shot(page, 'claim-faults');
  });
  await check('a wrong code is refused in words', async () => {
    const wrong = ready.claim_code.startsWith('ZZZZ') ? 'YYYY-YYYY' : 'ZZZZ-ZZZZ';
    await fill(wrong, owner.name, owner.password);
    await submit();
    await seen(page.getByText('Ese no es el código que muestra esta caja', { exact: false }));
  });
  return check('the right code claims the box and leads inside', async () => {
    await page.getByLabel('Código de la caja').fill(ready.claim_code.toLowerCase());
    await submit();
    await seen(page.getByText(`Te damos la bienvenida, ${owner.name}`, { exact: false }));
    await shot(page, 'ask-first');
  });
}

function signInFirst(page) {
  return check('the owner signs in', async () => {
    await page.goto(base);
    await page.getByLabel('Nombre').fill(owner.name);
    await page.getByLabel('Contraseña', { exact: true }).fill(owner.password);
    await page.getByRole('button', { name: 'Entrar' }).click();
    await seen(page.getByRole('heading', { level: 1, name: '¿Qué quieres saber?' }));
  });
}

async function ask(page) {
  const prompt = page.getByLabel('Tu pregunta', { exact: true });
  let chosen = 0;
  await check('there are models to choose from', async () => {
    await seen(page.getByRole('group', { name: 'Quién responde' }));
    chosen = await page.getByRole('group', { name: 'Quién responde' }).getByRole('checkbox', { checked: true }).count();
    assert.ok(chosen > 0, 'no model is chosen');
  });
  await check('a question goes to every chosen model and each one’s answer can be read', async () => {
    await prompt.fill(QUESTION);
    await prompt.press('Enter');
    await seen(page.getByRole('heading', { name: QUESTION }).first());
    const answers = page.locator('[data-testid^="answer-"][data-state]');
    assert.equal(await answers.count(), chosen);
    await shot(page, 'ask-writing');
    await page.waitForFunction(
      () =>
        [...document.querySelectorAll('[data-state]')].every(({ dataset }) => /answered|failed/.test(dataset.state)),
      undefined,
      { timeout: ANSWER_LIMIT_MS },
    );
    const good = page.locator('[data-testid^="answer-"][data-state="answered"] [data-testid="answer-text"]');
    assert.ok((await good.count()) > 0, await answers.allInnerTexts().then((texts) => texts.join('\n')));
    for (const text of await good.allInnerTexts()) assert.notEqual(text.trim(), '');
  });
  await check('the summary can be read', async () => {
    const summary = page.getByTestId('summary');
    await page.waitForFunction(
      () => document.querySelector('[data-testid="summary"]:not([aria-busy="true"])'),
      undefined,
      { timeout: ANSWER_LIMIT_MS },
    );
    const text = chosen > 1 ? summary.getByTestId('summary-text') : summary;
    assert.notEqual((await text.innerText()).trim(), '');
    await shot(page, 'ask-answered');
  });
  await check('a screen reader hears that it is done', async () => {
    await page.waitForFunction(() =>
      [...document.querySelectorAll('[role="status"]')].some(({ textContent }) => /^Resumen: ./.test(textContent)),
    );
  });
  await check('a question can be stopped', async () => {
    await page.route('**/query', () => undefined);
    await prompt.fill('¿Y esto?');
    await page.getByRole('button', { name: 'Preguntar' }).click();
    await page.getByRole('button', { name: 'Parar' }).click();
    await seen(page.getByText('Parado.').first());
    await page.unroute('**/query');
  });
}

async function chat(page) {
  const answers = () => page.getByTestId('turns').locator('li.assistant');
  const settled = (count) =>
    page.waitForFunction(
      (wanted) => {
        const all = document.querySelectorAll('[data-testid="turns"] li.assistant');
        return all.length === wanted && [...all].every((one) => one.getAttribute('aria-busy') === 'false');
      },
      count,
      { timeout: ANSWER_LIMIT_MS },
    );
  /** So many answers, the last of them whole. */
  const answered = (tab, count) =>
    tab.waitForFunction(
      (wanted) => {
        const states = [...document.querySelectorAll('[data-testid="turns"] [data-state]')];
        const writing = document.querySelector('[data-testid="turns"] li[aria-busy="true"]');
        return states.length === wanted && states.at(-1).dataset.state === 'answered' && !writing;
      },
      count,
      { timeout: ANSWER_LIMIT_MS },
    );
  await check('a conversation goes on turn by turn', async () => {
    await page.getByRole('link', { name: 'Charla' }).click();
    const draft = page.getByLabel('Escribe un mensaje');
    for (const [count, question] of [[1, QUESTION], [2, '¿Qué es el modo en línea?']]) {
      await draft.fill(question);
      await page.getByRole('button', { name: 'Preguntar' }).or(page.getByRole('button', { name: 'Enviar' })).first().click();
      await settled(count);
    }
    assert.match(await answers().first().innerText(), /ActionBooster/);
    await shot(page, 'chat');
  });
  await check('it is kept on the box, found again after a reload, renamed, deleted and had back', async () => {
    const address = page.url();
    await page.reload();
    await settled(2);
    const kept = page.getByRole('navigation', { name: 'Conversaciones' });
    await page.getByRole('button', { name: 'Cambiar nombre' }).click();
    await page.getByLabel('Nombre de la conversación').fill('Sobre la caja');
    await page.getByRole('button', { name: 'Guardar', exact: true }).click();
    await seen(kept.getByRole('link', { name: 'Sobre la caja' }));
    await page.getByRole('button', { name: 'Borrar', exact: true }).click();
    await page.getByTestId('undo').getByRole('button', { name: 'Deshacer' }).click();
    await settled(2);
    assert.equal(page.url(), address);
  });
  await check('another tab has the same conversation, and each sees what the other asks', async () => {
    const other = await page.context().newPage();
    await other.goto(page.url());
    await other.locator('[data-testid="turns"] li.assistant').nth(1).waitFor();
    await other.locator('select option').first().waitFor({ state: 'attached' });
    await other.getByLabel('Escribe un mensaje').fill('¿Y desde otra pestaña?');
    await other.getByLabel('Escribe un mensaje').press('Enter');
    await seen(page.getByText('¿Y desde otra pestaña?'));
    await answered(other, 3);
    await answered(page, 3);
    await other.close();
  });
  await check('Escape stops an answer, and one tap has it written anew', async () => {
    const draft = page.getByLabel('Escribe un mensaje');
    await page.route('**/v1/chat/completions', () => undefined);
    await draft.fill('¿Y esto otro?');
    await draft.press('Enter');
    await seen(page.getByRole('button', { name: 'Parar' }));
    await page.keyboard.press('Escape');
    await seen(page.getByText('Parado.').last());
    await page.unroute('**/v1/chat/completions');
    await page.getByTestId('again').last().click();
    await answered(page, 4);
  });
  await check('a reload in the middle of an answer keeps the question, and one tap has it answered', async () => {
    await page.route('**/v1/chat/completions', () => undefined);
    await page.getByLabel('Escribe un mensaje').fill('¿Y al recargar?');
    await page.getByLabel('Escribe un mensaje').press('Enter');
    await seen(page.getByRole('button', { name: 'Parar' }));
    await page.waitForResponse((response) => response.request().method() === 'PUT' && response.url().includes('/turns/'));
    await page.unroute('**/v1/chat/completions');
    await page.reload();
    await seen(page.getByText('¿Y al recargar?'));
    await page.getByRole('button', { name: 'Responder de nuevo' }).last().click();
    await answered(page, 5);
  });
  await check('the last question is changed and answered in its place', async () => {
    await page.getByRole('button', { name: 'Cambiar la pregunta' }).last().click();
    await page.getByLabel('La pregunta, cambiada').fill(QUESTION);
    await page.getByRole('button', { name: 'Que la respondan' }).click();
    await answered(page, 5);
    assert.equal(await page.getByText('¿Y al recargar?').count(), 0);
  });
  await check('a draft is kept over a reload', async () => {
    await page.getByLabel('Escribe un mensaje').fill('a medias');
    await page.reload();
    await settled(5);
    assert.equal(await page.getByLabel('Escribe un mensaje').inputValue(), 'a medias');
  });
}

async function makeAndKeep(page) {
  const kept = page.getByTestId('asset');
  await check('the box lets its own pages show pictures that were fetched with a session', async () => {
    const width = await page.evaluate(async () => {
      const file = await fetch('/favicon.svg');
      const picture = new Image();
      picture.src = URL.createObjectURL(new Blob([await file.arrayBuffer()], { type: 'image/svg+xml' }));
      await picture.decode();
      return picture.width;
    });
    assert.ok(width > 0);
  });
  await check('a text is made, kept and deleted', async () => {
    await page.getByRole('link', { name: 'Galería' }).click();
    await page.getByLabel('¿Qué hay que hacer?').fill(QUESTION);
    await page.getByRole('button', { name: 'Hacerlo' }).click();
    await seen(kept.getByText('ActionBooster', { exact: false }).first());
    await shot(page, 'gallery');
    await kept.first().getByRole('button', { name: 'Conservar' }).click();
    await seen(kept.first().getByRole('button', { name: 'Dejar de conservar' }));
    const before = await kept.count();
    await kept.first().getByRole('button', { name: 'Borrar' }).click();
    await page.waitForFunction((count) => document.querySelectorAll('[data-testid="asset"]').length < count, before);
  });
  await check('without a server for images it says which setting to write', async () => {
    await page.getByLabel('Imagen').check();
    await page.getByLabel('¿Qué hay que hacer?').fill('a house');
    await page.getByRole('button', { name: 'Hacerlo' }).click();
    await seen(page.getByRole('alert'));
    assert.match(await page.getByRole('alert').innerText(), /comfyui/i);
  });
}

async function keepDetectors(page) {
  const own = page.getByTestId('detector-mis-formas');
  await check('detectors have their own list, and tell their classes when asked', async () => {
    const shapes = page.getByTestId('detector-shapes');
    await seen(shapes);
    assert.equal(await shapes.getByRole('button', { name: 'Quitar', exact: false }).count(), 0, 'it is built in');
    assert.equal(await shapes.getByRole('button', { name: 'Mantener cargado', exact: false }).count(), 0);
    await shapes.getByText('Clases').click();
    await seen(shapes.getByText('triangle'));
    await seen(shapes.getByText('4 clases', { exact: false }));
    await shot(page, 'detectors');
  });
  await check('a detector is uploaded, checked and removed', async () => {
    const form = page.getByTestId('add-model');
    const file = { name: 'Mis formas.onnx', mimeType: 'application/octet-stream', buffer: readFileSync(SHAPES) };
    await form.getByLabel('Un archivo de este dispositivo').setInputFiles(file);
    await form.getByRole('button', { name: 'Subir' }).click();
    await seen(form.getByText('Se añadió mis-formas.'));
    await seen(own);
    await own.getByRole('button', { name: 'Comprobar el archivo', exact: false }).click();
    await seen(own.getByText('El archivo está íntegro.'));
    await own.getByRole('button', { name: 'Quitar', exact: false }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Quitar' }).click();
    await own.waitFor({ state: 'detached' });
  });
}

async function keepModels(page) {
  const added = page.getByTestId('model-otra-guia');
  await check('the models and the memory they take are shown', async () => {
    await page.getByRole('link', { name: 'Modelos' }).click();
    await seen(page.getByTestId('model-guide'));
    assert.match(await page.getByTestId('budget').innerText(), /en uso/);
    assert.ok((await page.getByTestId('catalog').getByRole('listitem').count()) > 5, 'no catalog');
    await shot(page, 'models');
  });
  await check('a model is uploaded in pieces, after the connection was cut once', async () => {
    const form = page.getByTestId('add-model');
    let cut = false;
    await page.route('**/api/v1/models/uploads/*?offset=*', (route) => {
      if (cut) return route.continue();
      cut = true;
      return route.abort();
    });
    const file = { name: 'Otra guia.gguf', mimeType: 'application/octet-stream', buffer: readFileSync(GUIDE) };
    await form.getByLabel('Un archivo de este dispositivo').setInputFiles(file);
    await form.getByRole('button', { name: 'Subir' }).click();
    await seen(form.getByText('Se añadió otra-guia.'));
    await page.unroute('**/api/v1/models/uploads/*?offset=*');
    await seen(added);
    assert.ok(cut, 'nothing was cut');
  });
  await check('it is loaded, kept loaded, given options, checked and unloaded', async () => {
    await added.getByRole('button', { name: 'Cargar', exact: false }).first().click();
    await seen(added.getByText('lista', { exact: false }).or(added.getByText('listo', { exact: false })).first());
    await added.getByRole('button', { name: 'Mantener cargado', exact: false }).click();
    await seen(added.getByRole('button', { name: 'Dejar ir si está inactivo', exact: false }));
    await added.getByText('Opciones').click();
    await added.getByLabel('Contexto').fill('256');
    await added.getByRole('button', { name: 'Guardar' }).click();
    await seen(added.getByText('Guardado.', { exact: false }));
    await added.getByRole('button', { name: 'Comprobar el archivo', exact: false }).click();
    await seen(added.getByText('El archivo está íntegro.'));
  });
  await check('what cannot be a model is refused with the reason', async () => {
    const form = page.getByTestId('add-model');
    const file = { name: 'nada.gguf', mimeType: 'application/octet-stream', buffer: Buffer.from('nothing at all') };
    await form.getByLabel('Un archivo de este dispositivo').setInputFiles(file);
    await form.getByRole('button', { name: 'Subir' }).click();
    await seen(form.getByRole('alert'));
    assert.match(await form.getByRole('alert').innerText(), /GGUF/);
  });
  await check('it is removed after a question', async () => {
    await added.getByRole('button', { name: 'Quitar', exact: false }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Quitar' }).click();
    await page.waitForFunction(() => !document.querySelector('[data-testid="model-otra-guia"]'));
  });
}

async function seeBox(page) {
  await check('the box tells its mode and the reasons', async () => {
    await page.getByRole('link', { name: 'La caja' }).click();
    await seen(page.getByTestId('mode').getByRole('heading', { level: 2 }));
    const reasons = await page.getByTestId('mode').getByRole('listitem').allInnerTexts();
    assert.ok(reasons.length > 0 && reasons.every((reason) => reason.trim() !== ''), 'no reasons');
    assert.equal(await page.evaluate(() => document.activeElement.tagName), 'H1');
    await seen(page.getByTestId('version').getByText(/^ActionBooster \d+\.\d+\.\d+/));
    await shot(page, 'box');
  });
  await check('it shows the machine, memory, disks, network and certificate', async () => {
    for (const card of ['machine', 'memory', 'accelerators', 'disks', 'devices', 'network', 'certificate']) {
      assert.ok((await page.getByTestId(card).innerText()).length > 20, card);
    }
    assert.match(await page.getByTestId('certificate').innerText(), /(?:[0-9A-F]{2}:){31}[0-9A-F]{2}/);
  });
  await check('what lies on the disk, and what a thief gets of it, is told', async () => {
    assert.match(await page.getByTestId('secrets').innerText(), /contraseñas de (?:tus|las) cámaras/);
    await seen(page.getByTestId('secrets').getByText('no están cifrados', { exact: false }));
  });
  await check('the recovery key of an encrypted disk is shown for the password, and hidden again', async () => {
    // No disk is encrypted here; what is told of one is all that is made up.
    const report = await page.evaluate(async () => (await fetch('/api/v1/provisioning')).json());
    report.storage.encrypted = true;
    await page.route('**/api/v1/provisioning', (route) => route.fulfill({ json: report }));
    await page.reload();
    const card = page.getByTestId('secrets');
    await card.getByRole('button', { name: 'Mostrar la clave de recuperación' }).click();
    const field = card.getByLabel('Contraseña actual');
    await field.fill('no es esta');
    await card.getByRole('button', { name: 'Mostrar la clave de recuperación' }).click();
    await seen(card.getByText('Esa no es tu contraseña actual.'));
    await assertAccessible(page, 'the recovery key, refused');
    await page.route('**/api/v1/recovery-key', (route) => {
      assert.deepEqual(route.request().postDataJSON(), { password: owner.password });
      return route.fulfill({ json: { recovery_key: 'ABCD-EFGH-JKLM-NPQR-STUV-WXYZ-2345' } });
    });
    await field.fill(owner.password);
    await card.getByRole('button', { name: 'Mostrar la clave de recuperación' }).click();
    await seen(page.getByTestId('recovery-key').getByText('ABCD-EFGH-JKLM-NPQR-STUV-WXYZ-2345'));
    await shot(page, 'recovery-key');
    await card.getByRole('button', { name: 'Ocultar' }).click();
    assert.equal(await page.getByTestId('recovery-key').count(), 0);
    await page.unroute('**/api/v1/provisioning');
    await page.unroute('**/api/v1/recovery-key');
    await page.reload();
  });
  await check('the certificate it hands out is the authority’s', async () => {
    const given = await page.evaluate(async () => (await fetch('/ca.crt')).text());
    assert.equal(given.trim(), readFileSync(ready.ca_cert, 'utf8').trim());
  });
  await check('the box tells what takes its space, and where it is freed', async () => {
    await page.getByTestId('space').getByRole('link', { name: 'Qué ocupa el espacio' }).click();
    await seen(page.getByRole('heading', { level: 1, name: 'Espacio' }));
    await seen(page.getByTestId('space-system'));
    assert.match(await page.getByTestId('space').innerText(), /libres de/);
    await shot(page, 'space');
  });
}

async function changeSettings(page) {
  await check('online mode is explained and switched', async () => {
    await page.getByRole('link', { name: 'Ajustes' }).click();
    const online = page.getByRole('switch', { name: 'Permitir que la caja salga a internet' });
    await seen(online);
    await shot(page, 'settings');
    const before = await online.getAttribute('aria-checked');
    for (const state of [before === 'true' ? 'false' : 'true', before]) {
      await online.click();
      await page.waitForFunction(
        (wanted) => document.querySelector('[role="switch"]').getAttribute('aria-checked') === wanted,
        state,
      );
    }
  });
  const keys = page.getByTestId('keys');
  let key;
  await check('a new key is shown once, with examples that name it', async () => {
    await keys.getByLabel('Nombre').fill('prueba');
    await keys.getByRole('button', { name: 'Crear clave' }).click();
    key = await page.getByTestId('key-value').innerText();
    assert.match(key, /^ab_[0-9A-Za-z]{40}$/);
    await keys.getByText('Pruébala').click();
    for (const example of await keys.locator('pre').allInnerTexts()) assert.ok(example.includes(key), example);
    await shot(page, 'settings-key');
    await keys.getByRole('button', { name: 'Ya la he copiado' }).click();
    assert.equal(await page.getByTestId('key-value').count(), 0);
  });
  await check('the key works', async () => assert.equal(await statusWithKey('/v1/models', key), 200));
  await check('a revoked key does not', async () => {
    await keys.getByRole('button', { name: 'Revocar la clave prueba' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Revocar' }).click();
    await seen(keys.getByText('La clave «prueba» está revocada.'));
    assert.equal(await statusWithKey('/v1/models', key), 401);
  });
  await check('a wrong name and a private key are refused before they are sent', async () => {
    await page.getByTestId('hostname').getByLabel('Nombre', { exact: true }).fill('Mi caja');
    await page.getByTestId('hostname').getByRole('button', { name: 'Guardar' }).click();
    await seen(page.getByText('Usa de 1 a 63 letras', { exact: false }));
    await page.getByLabel('Añadir una clave pública').fill('-----BEGIN OPENSSH PRIVATE KEY-----');
    await page.getByTestId('ssh').getByRole('button', { name: 'Añadir' }).click();
    await seen(page.getByText('Esta es una clave privada', { exact: false }));
  });
  await check('the clock is shown and the time zone changed', async () => {
    const card = page.getByTestId('time');
    await seen(card.getByText('La mantiene', { exact: false }));
    await card.getByLabel('Zona horaria').fill('Europe/Madrid');
    await card.getByRole('button', { name: 'Guardar' }).click();
    await seen(card.getByText('Guardado', { exact: false }));
  });
  const publicKey = `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA${'Q'.repeat(42)} prueba@portal`;
  await check('a public key is added and removed', async () => {
    const card = page.getByTestId('ssh');
    await card.getByLabel('Añadir una clave pública').fill(publicKey);
    await card.getByRole('button', { name: 'Añadir' }).click();
    await card.getByRole('button', { name: 'Quitar la clave prueba@portal' }).click();
    await card.getByText('prueba@portal').waitFor({ state: 'detached' });
  });
  const card = page.getByTestId('password');
  const change = async (current, next) => {
    await card.getByLabel('Contraseña actual').fill(current);
    await card.getByLabel('Contraseña nueva').fill(next);
    await card.getByRole('button', { name: 'Cambiar la contraseña' }).click();
  };
  await check('the present password is asked for before it is changed', async () => {
    await change('no es esta de verdad', 'otras cuatro palabras');
    await seen(card.getByText('Esa no es tu contraseña actual.'));
  });
  await check('the password is changed, and back', async () => {
    for (const [current, next] of [[owner.password, `${owner.password} y otra`], [`${owner.password} y otra`, owner.password]]) {
      await change(current, next);
      await seen(card.getByText('Contraseña cambiada.', { exact: false }));
      assert.equal(await card.getByLabel('Contraseña actual').inputValue(), '');
    }
  });
  await check('restarting asks first, and cancelling gives the focus back', async () => {
    const restart = page.getByTestId('power').getByRole('button', { name: 'Reiniciar' });
    await restart.click();
    await seen(page.getByRole('dialog'));
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    assert.ok(await restart.evaluate((button) => button === document.activeElement));
  });
}

async function signInAgain(page, context) {
  await check('the language is switched and kept', async () => {
    await page.getByRole('button', { name: 'English' }).click();
    await seen(page.getByRole('heading', { level: 1, name: 'Settings' }));
    await page.reload();
    await seen(page.getByRole('heading', { level: 1, name: 'Settings' }));
    assert.equal(await page.getAttribute('html', 'lang'), 'en');
  });
  await check('the appearance is switched and kept', async () => {
    const paper = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const light = await paper();
    await page.getByRole('button', { name: 'Appearance: Same as this device. Change' }).click();
    await page.getByRole('button', { name: 'Appearance: Light. Change' }).click();
    await seen(page.getByRole('button', { name: 'Appearance: Dark. Change' }));
    const dark = await paper();
    assert.notEqual(dark, light);
    await page.reload();
    await seen(page.getByRole('heading', { level: 1, name: 'Settings' }));
    assert.equal(await paper(), dark);
    await page.getByRole('button', { name: 'Appearance: Dark. Change' }).click();
  });
  await check('signing out leads to the sign-in page and takes the questions away', async () => {
    await page.getByRole('button', { name: 'Sign out' }).click();
    await seen(page.getByRole('heading', { level: 1, name: 'Sign in' }));
    await shot(page, 'login');
    assert.equal(await page.evaluate(async () => (await fetch('/api/v1/keys')).status), 401);
    const left = await page.evaluate(() => Object.keys(localStorage).filter((key) => /draft|chats/.test(key)));
    assert.deepEqual(left, []);
  });
  await check('the sign-in form is accessible', () => assertAccessible(page, 'login'));
  await check('a wrong password is refused in words', async () => {
    await page.getByLabel('Name').fill(owner.name);
    await page.getByLabel('Password', { exact: true }).fill(`${owner.password}x`);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await seen(page.getByText('That name and password do not match.'));
    assert.equal(await page.evaluate(() => document.activeElement.name), 'password');
    await shot(page, 'login-wrong');
  });
  await check('the keyboard alone is enough to sign in', async () => {
    await page.goto(`${base}/login`);
    await seen(page.getByRole('heading', { level: 1, name: 'Sign in' }));
    const focused = () => page.evaluate(() => document.activeElement.getAttribute('name') ?? document.activeElement.className);
    const tabTo = async (wanted) => {
      for (let count = 0; count < 15 && (await focused()) !== wanted; count += 1) await page.keyboard.press('Tab');
      assert.equal(await focused(), wanted);
    };
    await page.keyboard.press('Tab');
    assert.match(await focused(), /skip/, 'the first stop is not the link to the content');
    await page.keyboard.press('Enter');
    await tabTo('username');
    await page.keyboard.type(owner.name);
    await tabTo('password');
    await page.keyboard.type(owner.password);
    await page.keyboard.press('Enter');
    await seen(page.getByRole('heading', { level: 1, name: 'What would you like to know?' }));
    const heading = await page.evaluate(() => document.activeElement.tagName);
    assert.equal(heading, 'H1', 'the focus did not move to the new view');
  });
  await check('a session that ends leads to the sign-in page and back to where one was', async () => {
    await page.getByRole('link', { name: 'The box' }).click();
    await seen(page.getByTestId('mode'));
    await context.clearCookies();
    await page.getByRole('link', { name: 'Settings' }).click();
    await seen(page.getByText('Your session has ended.', { exact: false }));
    await page.getByLabel('Name').fill(owner.name);
    await page.getByLabel('Password', { exact: true }).fill(owner.password);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await seen(page.getByRole('heading', { level: 1, name: 'Settings' }));
    assert.equal(new URL(page.url()).pathname, '/settings');
  });
}

/** What the portal says when the box is not well; the answers are made up here. */
async function troubles(page) {
  const pretend = (path, status, body) =>
    page.route(path, (route) => route.fulfill({ status, contentType: 'application/problem+json', body: JSON.stringify(body) }));
  await check('a part that fails is named on every page', async () => {
    const components = [{ name: 'agent', status: 'degraded', detail: 'no model fits in memory' }];
    await pretend('**/health', 200, { status: 'degraded', version: '0', components });
    await page.goto(`${base}/box`);
    await seen(page.getByTestId('health-degraded').getByText('no model fits in memory'));
    await shot(page, 'degraded');
    await page.unrouteAll();
  });
  await check('damaged data is told apart', async () => {
    const components = [{ name: 'data', status: 'degraded', detail: 'runs from memory' }];
    await pretend('**/health', 200, { status: 'degraded', version: '0', components });
    await page.goto(base);
    await seen(page.getByTestId('health-damaged'));
    await page.unrouteAll();
  });
  await check('without its daemons the portal says what is missing and comes back by itself', async () => {
    const problem = { type: 'monitor-unavailable', title: 'x', status: 503, detail: 'x' };
    await pretend(/\/(health|api\/v1\/.*)$/, 503, problem);
    await page.goto(`${base}/settings`);
    await seen(page.getByText('The part that manages the box is not answering.', { exact: false }));
    await shot(page, 'daemons-down');
    await page.unrouteAll();
    await seen(page.getByRole('heading', { level: 1, name: 'Settings' }));
  });
  await check('a box that does not answer is told apart, and comes back by itself', async () => {
    await page.route(/\/(health|api\/v1\/.*)$/, (route) => route.abort());
    await page.getByRole('link', { name: 'The box' }).click();
    await seen(page.getByText('The box does not answer', { exact: false }).first());
    await page.unrouteAll();
    await page.getByRole('button', { name: 'Try again' }).click();
    await seen(page.getByTestId('mode'));
  });
}

/** Every view in both appearances, both languages and on a phone. */
async function everywhere(storageState) {
  const cookies = { cookies: storageState.cookies, origins: [] };
  for (const colorScheme of ['light', 'dark']) {
    const { context, page } = await visit({ locale: 'en-US', colorScheme, storageState: cookies });
    for (const [name, path] of Object.entries({ ...VIEWS, 'how to trust the box': '/ca' })) {
      await check(`${name} is accessible in ${colorScheme}`, async () => {
        await settle(page, path);
        await shot(page, `${name.split(' ')[0]}-en-${colorScheme}`);
        await assertAccessible(page, name);
      });
    }
    await context.close();
  }
  for (const locale of ['es-ES', 'en-US']) {
    const { context, page } = await visit({ locale, viewport: PHONE, hasTouch: true, storageState: cookies });
    for (const [name, path] of Object.entries({ ...VIEWS, 'how to trust the box': '/ca' })) {
      await check(`${name} fits a phone in ${locale}`, async () => {
        await settle(page, path);
        await shot(page, `${name.split(' ')[0]}-phone-${locale}`);
        await assertFits(page, name);
      });
    }
    await check(`an answer fits a phone in ${locale}`, async () => {
      await settle(page, '/');
      await page.locator('textarea').fill('Write a long word: https://example.invalid/' + 'a'.repeat(200));
      await page.locator('form button[type="submit"]').click();
      await page.waitForFunction(
        () => document.querySelector('[data-testid="summary"]:not([aria-busy="true"])'),
        undefined,
        { timeout: ANSWER_LIMIT_MS },
      );
      await shot(page, `answer-phone-${locale}`);
      await assertFits(page, 'an answer');
    });
    await context.close();
  }
}

async function visit(options) {
  const context = await browser.newContext({ viewport: DESKTOP, colorScheme: 'light', reducedMotion: 'reduce', ...options });
  context.setDefaultTimeout(PAGE_LIMIT_MS);
  await watch.over(context);
  return { context, page: await context.newPage() };
}

async function settle(page, path) {
  await page.goto(base + path);
  await seen(page.getByRole('heading', { level: 1 }));
  // The cameras' page keeps listening, so the network is never idle there.
  if (path === VIEWS.ask || path === VIEWS.chat) {
    // These listen to what other tabs write, so the network is never idle there either.
    await page.locator('[data-testid="conversations"][aria-busy="false"]').waitFor({ state: 'attached' });
    await page.locator('[data-testid="composer"] button[type="submit"]:enabled').waitFor();
  } else if (path === VIEWS.cameras) await seen(page.locator('[data-testid="cameras"][aria-busy="false"]'));
  else await page.waitForLoadState('networkidle');
}

function seen(locator) {
  return locator.waitFor({ state: 'visible' });
}

async function shot(page, name) {
  if (!shotsFolder) return;
  mkdirSync(shotsFolder, { recursive: true });
  await page.screenshot({ path: join(shotsFolder, `${name}.png`), fullPage: true });
}

function statusWithKey(path, key) {
  return new Promise((resolve, reject) => {
    const options = { ca: readFileSync(ready.ca_cert), headers: { authorization: `Bearer ${key}` } };
    httpsGet(base + path, options, (response) => {
      response.resume();
      resolve(response.statusCode);
    }).once('error', reject);
  });
}
