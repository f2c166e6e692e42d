/** The cameras' page with a real camera: a folder with a drawing, seen through the built-in detector. */
import assert from 'node:assert/strict';

const PICTURES = new URL('../../models/shapes', import.meta.url).pathname;
const PHONE = { width: 390, height: 844 };
/** A session is on the disk a moment after it began. */
const SESSION_LIMIT_MS = 30_000;

export async function watchCameras({ page, check, seen, shot, assertAccessible, assertFits }) {
  const card = page.getByTestId('camera-puerta');
  const form = page.getByTestId('camera-form');
  const heading = (name) => seen(page.getByRole('heading', { level: 1, name, exact: true }));
  const boxes = (place) => place.getByTestId('boxes').locator('text');
  const open = await livePictures(page);

  await check('without cameras the page says what can be one', async () => {
    await page.getByRole('link', { name: 'Cámaras' }).click();
    await heading('Cámaras');
    await seen(page.getByText('Aún no hay cámaras.'));
    await shot(page, 'cameras-none');
  });
  await check('a camera without a name and with half an address is not sent, and the fields say why', async () => {
    await page.getByRole('link', { name: 'Añadir una cámara' }).click();
    await heading('Añadir una cámara');
    await form.getByRole('button', { name: 'Añadir una cámara' }).click();
    await seen(form.getByText('Ponle un nombre a la cámara.'));
    await seen(form.getByText('Escribe una dirección que empiece por rtsp://.'));
    assert.equal(await page.evaluate(() => document.activeElement.maxLength), 64, 'the focus is not at the name');
  });
  await check('what the box refuses is said at the field', async () => {
    await form.getByLabel('Nombre', { exact: true }).fill('Puerta');
    await form.getByLabel('Dirección').fill('rtsp://cam:99999/live');
    await form.getByRole('button', { name: 'Añadir una cámara' }).click();
    const field = form.getByLabel('Dirección');
    await page.waitForFunction((input) => input.getAttribute('aria-invalid') === 'true', await field.elementHandle());
    await seen(form.getByText('the port of the address', { exact: false }).first());
  });
  await check('the detector’s classes are offered', async () => {
    await seen(form.getByTestId('classes').getByLabel('triangle'));
    await form.getByTestId('classes').getByLabel('circle').check();
    await form.getByTestId('classes').getByLabel('square').check();
  });
  await check('the form is accessible', async () => {
    await form.getByText('Más', { exact: true }).click();
    await form.getByRole('button', { name: 'Añadir una máscara en el centro' }).click();
    await form.getByText('Máscara 1: 4 esquinas').click();
    await shot(page, 'camera-form');
    await assertAccessible(page, 'the form of a camera');
    await form.getByRole('button', { name: 'Quitar esta máscara 1' }).click();
  });
  await check('a folder of pictures becomes a camera with a live picture', async () => {
    await form.getByLabel('Tipo').selectOption('folder');
    await form.getByLabel('Ruta').fill(PICTURES);
    await form.getByLabel('Guardar un clip de cada sesión').check();
    await form.getByLabel('Visto durante tanto: empieza una sesión').fill('0,3');
    await form.getByLabel('Sin verse durante tanto: se cierra').fill('1');
    await form.getByLabel('Sigue después de eso').fill('0');
    await form.getByRole('button', { name: 'Añadir una cámara' }).click();
    await heading('Puerta');
    assert.equal(new URL(page.url()).pathname, '/cameras/puerta');
    await page.waitForFunction(() => document.querySelector('[data-testid="live-puerta"] img')?.naturalWidth === 160);
    assert.equal(open.size, 1);
  });
  await check('boxes with the names of their classes are drawn over it, where the things are', async () => {
    await seen(boxes(page.getByTestId('live-puerta')).first());
    const drawn = await boxes(page.getByTestId('live-puerta')).allTextContents();
    assert.ok(drawn.every((text) => /^(circle|square) \d+ %$/.test(text)), drawn.join(', '));
    const { room, edges } = await page.evaluate(() => {
      const svg = document.querySelector('[data-testid="live-puerta"] svg[data-testid="boxes"]');
      const edges = [...svg.querySelectorAll('rect.edge')].map((edge) => edge.getBoundingClientRect().toJSON());
      return { room: svg.getBoundingClientRect().toJSON(), edges };
    });
    // The picture is square: it lies in the middle of the room, as high as the room.
    const left = room.left + (room.width - room.height) / 2;
    for (const edge of edges) {
      assert.ok(edge.width > 5 && edge.left >= left - 1 && edge.right <= left + room.height + 1, JSON.stringify({ room, edge }));
    }
    await seen(page.getByTestId('sees').getByText(/Ve circle, square/));
    await shot(page, 'camera');
  });
  await check('a session with a snapshot appears while one looks', async () => {
    const session = page.getByTestId('session').first();
    await session.waitFor({ timeout: SESSION_LIMIT_MS });
    await page.waitForFunction(
      () => document.querySelector('[data-testid="session"] img')?.naturalWidth === 160,
      undefined,
      { timeout: SESSION_LIMIT_MS },
    );
    await seen(session.getByText(/circle ×\d/));
    await seen(page.getByText('sesión', { exact: true }));
    await assertAccessible(page, 'a camera');
  });
  await check('the list shows it live, and leaving the page ends the connection', async () => {
    await page.getByRole('link', { name: 'Todas las cámaras' }).click();
    await seen(card.getByText('en directo'));
    await seen(card.getByText('detectando'));
    await page.waitForFunction(() => document.querySelector('[data-testid="live-puerta"] img')?.naturalWidth === 160);
    await seen(boxes(card).first());
    await shot(page, 'cameras');
    await assertAccessible(page, 'the cameras');
    await page.getByRole('link', { name: 'La caja' }).click();
    await heading('La caja');
    await until(() => open.size === 0, 'a live picture is still being sent');
  });
  await check('a picture beyond the screen is not asked for', async () => {
    await page.setViewportSize({ width: 1280, height: 200 });
    await page.getByRole('link', { name: 'Cámaras' }).click();
    await card.waitFor({ state: 'attached' });
    await page.evaluate(() => scrollTo(0, document.body.scrollHeight));
    await until(() => open.size === 0, 'a picture off the screen is open');
    await page.evaluate(() => scrollTo(0, 0));
    await page.setViewportSize({ width: 1280, height: 850 });
    await until(() => open.size === 1, 'the picture did not come back');
  });
  await check('it is given masks with the pointer and with numbers', async () => {
    await card.getByRole('link', { name: 'Ajustar' }).click();
    await heading('Ajustes de Puerta');
    const drawing = form.getByTestId('drawing');
    await page.waitForFunction(() => document.querySelector('[data-testid="drawing"]').clientHeight > 100);
    await drawing.scrollIntoViewIfNeeded();
    let room = await drawing.boundingBox();
    await page.mouse.move(room.x + room.width * 0.7, room.y + room.height * 0.7);
    await page.mouse.down();
    await page.mouse.move(room.x + room.width * 0.95, room.y + room.height * 0.95, { steps: 4 });
    await page.mouse.up();
    await form.getByText('Máscara 1: 4 esquinas').click();
    await form.getByLabel('Esquina 1, % desde la izquierda').fill('50');
    await form.getByLabel('Esquina 1, % desde la izquierda').press('Tab');
    await form.getByLabel('Forma libre').check();
    await drawing.scrollIntoViewIfNeeded();
    room = await drawing.boundingBox();
    for (const [x, y] of [[0.05, 0.05], [0.3, 0.05], [0.05, 0.3], [0.05, 0.05]]) {
      await page.mouse.click(room.x + room.width * x, room.y + room.height * y);
    }
    await seen(form.getByText('Máscara 2: 3 esquinas'));
    await drawing.scrollIntoViewIfNeeded();
    await shot(page, 'camera-masks');
    await form.getByRole('button', { name: 'Guardar' }).click();
    await heading('Puerta');
    const { masks, threshold } = await page.evaluate(async () => (await fetch('/api/v1/cameras/puerta')).json());
    assert.equal(masks.length, 2);
    assert.deepEqual([masks[0].points[0][0], masks[1].points.length, threshold.toFixed(2)], [0.5, 3, '0.35']);
  });
  await check('what a mask covers is not seen', async () => {
    await page.getByRole('link', { name: 'Ajustar' }).click();
    for (const number of [2, 1]) {
      await form.getByText(`Máscara ${number}:`, { exact: false }).click();
      await form.getByRole('button', { name: `Quitar esta máscara ${number}` }).click();
    }
    await form.getByRole('button', { name: 'Añadir una máscara en el centro' }).click();
    await form.getByText('Máscara 1: 4 esquinas').click();
    for (const [corner, x, y] of [[1, 0, 0], [2, 100, 0], [3, 100, 100], [4, 0, 100]]) {
      for (const [side, value] of [['la izquierda', x], ['arriba', y]]) {
        const field = form.getByLabel(`Esquina ${corner}, % desde ${side}`);
        await field.fill(String(value));
        await field.press('Tab');
      }
    }
    await form.getByRole('button', { name: 'Guardar' }).click();
    await heading('Puerta');
    await page.waitForFunction(() => document.querySelector('[data-testid="live-puerta"] img')?.naturalWidth === 160);
    await seen(page.getByText('detectando'));
    await seen(page.getByText('No ve nada de lo que busca'));
    assert.equal(await boxes(page.getByTestId('live-puerta')).count(), 0);
  });
  await check('a session tells what was seen, with its clip', async () => {
    const session = page.getByTestId('session').last();
    await session.getByRole('heading').getByRole('link').click();
    await seen(page.getByTestId('session-classes').getByRole('rowheader', { name: 'circle' }));
    await seen(page.getByTestId('session-course').getByRole('listitem').first());
    await seen(boxes(page).first());
    const clip = page.getByTestId('session-classes').getByRole('link', { name: 'Clip' });
    const status = await page.evaluate(async (path) => (await fetch(path)).status, await clip.getAttribute('href'));
    assert.equal(status, 200);
    await shot(page, 'camera-session');
    await assertAccessible(page, 'a session');
  });
  await check('it is deleted after a question', async () => {
    const path = new URL(page.url()).pathname;
    await page.getByRole('button', { name: 'Borrar' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Borrar' }).click();
    await heading('Puerta');
    assert.equal(await page.locator(`a[href="${path}"]`).count(), 0);
  });
  await check('a camera that is off is said to be off, and one whose source is gone tells the reason', async () => {
    await page.getByRole('button', { name: 'Apagar' }).click();
    await seen(page.getByTestId('live-puerta').getByText('apagada'));
    assert.equal(await page.getByTestId('live-puerta').locator('img').count(), 0, 'it is still shown');
    await shot(page, 'camera-off');
    await page.getByRole('link', { name: 'Ajustar' }).click();
    await form.getByLabel('Ruta').fill('/nowhere/at/all');
    await form.getByRole('button', { name: 'Guardar' }).click();
    await heading('Puerta');
    await page.getByRole('button', { name: 'Encender' }).click();
    await seen(page.getByTestId('live-puerta').getByText('sin imagen'));
    await seen(page.getByTestId('live-puerta').getByText('/nowhere/at/all', { exact: false }));
    await shot(page, 'camera-lost');
  });
  await check('it comes back on a phone, which it fits with its form', async () => {
    await page.setViewportSize(PHONE);
    await page.getByRole('link', { name: 'Ajustar' }).click();
    await form.getByLabel('Ruta').fill(PICTURES);
    await form.getByText('Máscara 1:', { exact: false }).click();
    await form.getByText('Más', { exact: true }).click();
    await shot(page, 'camera-form-phone');
    await assertFits(page, 'the form of a camera');
    await form.getByRole('button', { name: 'Quitar esta máscara 1' }).click();
    await form.getByRole('button', { name: 'Guardar' }).click();
    await heading('Puerta');
    await seen(boxes(page.getByTestId('live-puerta')).first());
    await shot(page, 'camera-phone');
    await assertFits(page, 'a camera');
    await page.getByRole('link', { name: 'Todas las cámaras' }).click();
    await seen(boxes(card).first());
    await shot(page, 'cameras-phone');
    await assertFits(page, 'the cameras');
    await page.setViewportSize({ width: 1280, height: 850 });
  });
  await check('its pages are accessible in dark', async () => {
    await page.emulateMedia({ colorScheme: 'dark' });
    await shot(page, 'cameras-dark');
    await assertAccessible(page, 'the cameras');
    await page.getByRole('link', { name: 'Abrir Puerta' }).click();
    await heading('Puerta');
    await page.getByTestId('session').first().waitFor();
    await shot(page, 'camera-dark');
    await assertAccessible(page, 'a camera');
    await page.getByRole('link', { name: 'Ajustar' }).click();
    await seen(form.getByLabel('Nombre', { exact: true }));
    await assertAccessible(page, 'the form of a camera');
    await page.emulateMedia({ colorScheme: 'light' });
    await page.getByRole('link', { name: 'Puerta', exact: true }).click();
    await page.getByRole('link', { name: 'Todas las cámaras' }).click();
  });
  await check('the browser’s way back leads through the cameras’ pages', async () => {
    await page.getByRole('link', { name: 'Abrir Puerta' }).click();
    await heading('Puerta');
    await page.goBack();
    await heading('Cámaras');
    await page.goto(new URL('/cameras/puerta', page.url()).href, { waitUntil: 'domcontentloaded' });
    await heading('Puerta');
  });
  await check('it is removed after a question', async () => {
    await page.getByRole('button', { name: 'Quitar' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Quitar' }).click();
    await heading('Cámaras');
    await seen(page.getByText('Aún no hay cámaras.'));
  });
  await check('a password is not shown, stays when something else is changed, and goes to no other host', async () => {
    await page.getByRole('link', { name: 'Añadir una cámara' }).click();
    await form.getByLabel('Nombre', { exact: true }).fill('Patio');
    await form.getByLabel('Dirección').fill('rtsp://ana:secreta@127.0.0.1:9/live');
    await form.getByRole('button', { name: 'Añadir una cámara' }).click();
    await heading('Patio');
    await page.getByRole('link', { name: 'Ajustar' }).click();
    assert.equal(await form.getByLabel('Dirección').inputValue(), 'rtsp://ana:***@127.0.0.1:9/live');
    await form.getByLabel('Nombre', { exact: true }).fill('Patio de atrás');
    await form.getByRole('button', { name: 'Guardar' }).click();
    await heading('Patio de atrás');
    await page.getByRole('link', { name: 'Ajustar' }).click();
    await form.getByLabel('Dirección').fill('rtsp://ana:***@127.0.0.2:9/live');
    await form.getByRole('button', { name: 'Guardar' }).click();
    await page.waitForFunction(() => document.activeElement.getAttribute('aria-invalid') === 'true');
    await seen(form.getByText('write the password again', { exact: false }));
    assert.doesNotMatch(await page.content(), /secreta/);
    await page.getByRole('link', { name: 'Cancelar' }).click();
    await heading('Patio de atrás');
    await page.getByRole('button', { name: 'Quitar' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Quitar' }).click();
    await heading('Cámaras');
  });
}

/**
 * The live pictures that are being sent now. The browser calls such a request finished at its first picture;
 * it says once more that it is over when the connection ends.
 */
async function livePictures(page) {
  const open = new Map();
  const debug = await page.context().newCDPSession(page);
  await debug.send('Network.enable');
  debug.on('Network.requestWillBeSent', ({ requestId, request }) => {
    if (/\/api\/v1\/cameras\/[^/]+\/live/.test(request.url)) open.set(requestId, false);
  });
  debug.on('Network.loadingFinished', ({ requestId }) => {
    if (open.get(requestId)) open.delete(requestId);
    else if (open.has(requestId)) open.set(requestId, true);
  });
  debug.on('Network.loadingFailed', ({ requestId }) => open.delete(requestId));
  return open;
}

/** Waits for something that no page tells. */
async function until(holds, what) {
  const deadline = Date.now() + 15_000;
  while (!holds()) {
    assert.ok(Date.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
