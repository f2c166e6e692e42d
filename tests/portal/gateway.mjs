/**
 * What nginx does with our configuration: which daemon gets what, what clients read when one is
 * down, streams, limits, headers, the plain port and the page of a damaged box. It runs the real
 * nginx; small servers stand in for the daemons.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { Agent, request as httpsRequest } from 'node:https';
import { connect as connectTls } from 'node:tls';
import { daemon, layOut, startNginx } from './lib/gateway.mjs';
import { Tally } from './lib/tally.mjs';

const PROBLEM = 'application/problem+json';
const LARGE_BYTES = 17 * 1024 * 1024;

const tally = new Tally();
const check = (name, work) => tally.check(name, work);
const place = await layOut();
const ca = readFileSync(place.ca);
const agent = new Agent({ ca, keepAlive: false });

await check('nginx accepts the configuration', () => {
  execFileSync('nginx', ['-t', '-q', '-e', 'stderr', '-c', place.configuration], { stdio: 'pipe' });
});
const nginx = await startNginx(place);
try {
  await withoutDaemons();
  await withDaemons();
  await plainPort();
  await damaged();
} finally {
  await nginx.stop();
  place.remove();
}
await check('nginx reports nothing worse than a missing daemon or a limit', () => {
  const lines = nginx.log().split('\n').filter((line) => /\[(emerg|alert|crit|error)\]/.test(line));
  const expected = /(monitor|agent)\.sock failed|limiting requests|client intended to send too large body|is not found/;
  assert.deepEqual(lines.filter((line) => !expected.test(line)), []);
});
process.exit(tally.finish());

async function withoutDaemons() {
  await check('the portal loads while every daemon is down', async () => {
    const answer = await get('/');
    assert.equal(answer.status, 200);
    assert.match(answer.body, /<div id="app">/);
    assert.equal(answer.headers['cache-control'], 'no-cache');
  });
  await check('an address inside the portal gives the portal', async () => {
    assert.match((await get('/settings')).body, /<div id="app">/);
  });
  await check('a policy without inline code, and the other headers, come with every answer', async () => {
    for (const path of ['/', assetPath(), '/health', '/api/nothing', '/ca', '/ca.crt', '/pages/page.css']) {
      const { headers } = await get(path);
      const policy = headers['content-security-policy'] ?? '';
      assert.match(policy, /default-src 'none'/, path);
      assert.match(policy, /frame-ancestors 'none'/, path);
      assert.doesNotMatch(policy, /unsafe|data:|\*/, path);
      assert.equal(headers['x-content-type-options'], 'nosniff', path);
      assert.equal(headers['referrer-policy'], 'no-referrer', path);
      assert.match(headers['permissions-policy'] ?? '', /camera=\(\)/, path);
      assert.equal(headers['strict-transport-security'], undefined, path);
      assert.equal(headers.server, 'nginx', path);
    }
  });
  await check('hashed assets are kept for good and come compressed', async () => {
    const answer = await get(assetPath(), { headers: { 'accept-encoding': 'gzip' } });
    assert.match(answer.headers['cache-control'], /immutable/);
    assert.equal(answer.headers['content-encoding'], 'gzip');
    assert.match(answer.headers['content-type'], /javascript/);
  });
  await check('a missing asset is not the portal', async () => {
    assert.equal((await get('/assets/none.js')).status, 404);
  });
  await check('a monitor that is down is a problem that says so', async () => {
    for (const path of ['/health', '/api/v1/session', '/api/v1/claim']) {
      const answer = await get(path);
      assert.equal(answer.status, 503, path);
      assert.equal(answer.headers['content-type'], PROBLEM);
      assert.equal(answer.headers['retry-after'], '5');
      assert.equal(answer.headers['cache-control'], 'no-store');
      assert.match(JSON.parse(answer.body).detail, /booster-monitor/);
    }
  });
  await check('an agent that is down is a problem that says so', async () => {
    const answer = await post('/query', '{}');
    assert.equal(answer.status, 503);
    assert.equal(answer.headers['content-type'], PROBLEM);
    assert.equal(JSON.parse(answer.body).type, 'agent-unavailable');
  });
  await check('OpenAI clients read that in their own shape', async () => {
    const answer = await post('/v1/chat/completions', '{}');
    assert.equal(answer.status, 503);
    assert.match(JSON.parse(answer.body).error.message, /booster-agent/);
  });
  await check('Ollama clients read that in their own shape', async () => {
    const answer = await post('/api/chat', '{}');
    assert.equal(answer.status, 503);
    assert.match(JSON.parse(answer.body).error, /booster-agent/);
  });
  await check('an unknown API path is a problem, not a page', async () => {
    const answer = await get('/api/nothing');
    assert.equal(answer.status, 404);
    assert.equal(JSON.parse(answer.body).type, 'not-found');
  });
}

async function withDaemons() {
  let live = { gone: null, release: null };
  const echo = (name) => (request, response) => {
    if (request.url === '/query') {
      live.gone = once(response, 'close');
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write('event: start\ndata: {}\n\n');
      live.release = () => response.end('event: done\ndata: {}\n\n');
      return;
    }
    if (request.url === '/api/v1/settings') {
      response.writeHead(503, { 'content-type': PROBLEM }).end('{"type":"own"}');
      return;
    }
    const { method, url, headers } = request;
    request.resume();
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ name, method, url, headers }));
  };
  const monitor = await daemon(place.socket('monitor'), echo('monitor'));
  const models = await daemon(place.socket('agent'), echo('agent'));

  const routes = {
    monitor: ['/health', '/api/v1/claim', '/api/v1/session', '/api/v1/keys/7', '/api/v1/hardware', '/api/v1/other'],
    agent: [
      ...['/v1/models', '/v1/chat/completions', '/api/v1/models', '/api/v1/models/x', '/api/v1/query', '/text/gen'],
      ...['/image/gen', '/video/gen', '/agent/character', '/api/version', '/api/tags', '/api/show', '/api/ps'],
      ...['/api/chat', '/api/generate', '/api/embed', '/api/pull', '/api/v1/generations', '/api/v1/generations/g-1'],
      '/api/v1/workflows',
    ],
  };
  for (const [name, paths] of Object.entries(routes)) {
    await check(`${name} gets its paths and no others`, async () => {
      for (const path of paths) assert.equal(JSON.parse((await get(path)).body).name, name, path);
    });
  }
  await check('what belongs to the console does not reach a daemon from the network', async () => {
    const answer = await post('/api/v1/owner/reset', '{}');
    assert.equal(answer.status, 403);
    assert.equal(JSON.parse(answer.body).type, 'console-only');
  });
  await check('the daemons’ metrics are not reachable from outside', async () => {
    assert.doesNotMatch((await get('/metrics')).body, /"name"/);
  });
  await check('a daemon sees the real client, the host with its port and no forged address', async () => {
    const forged = { 'x-forwarded-for': '10.9.9.9', 'x-real-ip': '10.9.9.9', forwarded: 'for=10.9.9.9' };
    const { headers } = JSON.parse((await get('/api/v1/session', { headers: forged })).body);
    assert.equal(headers['x-forwarded-for'], '127.0.0.1');
    assert.equal(headers['x-real-ip'], '127.0.0.1');
    assert.equal(headers['x-forwarded-proto'], 'https');
    assert.equal(headers.forwarded, undefined);
    assert.equal(headers.host, `127.0.0.1:${place.https}`);
  });
  await check('a client’s request id is passed on when it is harmless, else one is made', async () => {
    const seen = async (id) =>
      JSON.parse((await get('/api/v1/session', { headers: { 'x-request-id': id } })).body).headers['x-request-id'];
    assert.equal(await seen('trace-12345678'), 'trace-12345678');
    assert.match(await seen('<script>alert(1)</script>'), /^[0-9a-f]{32}$/);
  });
  await check('a refusal that a daemon makes itself is passed on as it is', async () => {
    const answer = await get('/api/v1/settings');
    assert.equal(answer.status, 503);
    assert.equal(JSON.parse(answer.body).type, 'own');
  });
  await check('events leave as they come, over HTTP/1.1', async () => {
    const stream = await open('/query', { method: 'POST' });
    const [first] = await within(once(stream, 'data'), 'the first event');
    assert.match(String(first), /event: start/);
    live.release();
    stream.resume();
    await within(once(stream, 'end'), 'the end');
  });
  await check('events leave as they come, over HTTP/2', async () => {
    const session = connectHttp2(place.base, { ca });
    const stream = session.request({ ':method': 'POST', ':path': '/query' });
    stream.end();
    const [first] = await within(once(stream, 'data'), 'the first event');
    assert.match(String(first), /event: start/);
    assert.equal(session.alpnProtocol, 'h2');
    live.release();
    stream.resume();
    await within(once(stream, 'end'), 'the end');
    session.close();
  });
  await check('a client that leaves ends the work behind it', async () => {
    const stream = await open('/query', { method: 'POST' });
    await once(stream, 'data');
    stream.on('error', () => undefined).destroy();
    await within(live.gone, 'the daemon noticing');
  });
  await check('a request that is too large is refused in the client’s shape', async () => {
    const large = Buffer.alloc(LARGE_BYTES);
    assert.equal(JSON.parse((await post('/api/v1/keys', large)).body).type, 'too-large');
    const openai = await post('/v1/chat/completions', large);
    assert.equal(openai.status, 413);
    assert.equal(JSON.parse(openai.body).error.code, 'request_too_large');
    assert.match(JSON.parse((await post('/api/generate', large)).body).error, /4 MiB/);
  });
  await check('HTTP/1.1 and TLS 1.2 still work, TLS 1.1 does not', async () => {
    for (const [version, welcome] of [['TLSv1.3', true], ['TLSv1.2', true], ['TLSv1.1', false]]) {
      const ciphers = 'DEFAULT@SECLEVEL=0';
      const options = { port: place.https, host: '127.0.0.1', ca, minVersion: version, maxVersion: version, ciphers };
      const socket = connectTls(options);
      const [outcome] = await Promise.race([
        once(socket, 'secureConnect').then(() => [true]),
        new Promise((resolve) => socket.once('error', () => resolve([false]))),
      ]);
      socket.destroy();
      assert.equal(outcome, welcome, version);
    }
  });
  await check('guessing the code or the password is slowed down, looking is not', async () => {
    const tries = [];
    for (let count = 0; count < 9; count += 1) {
      tries.push(await post(count % 2 ? '/api/v1/claim' : '/api/v1/login', '{}'));
    }
    assert.equal(tries[0].status, 200);
    const last = tries.at(-1);
    assert.equal(last.status, 429);
    assert.equal(last.headers['content-type'], PROBLEM);
    assert.equal(JSON.parse(last.body).type, 'too-many-requests');
    for (let count = 0; count < 20; count += 1) assert.equal((await get('/api/v1/claim')).status, 200);
    assert.equal((await post('/api/v1/password', '{}')).status, 429, 'a password is asked for there too');
  });
  await check('a browser that was here before is not held up by others at its address', async () => {
    const before = `booster_device=${'0a'.repeat(16)}.${'b1'.repeat(32)}`;
    for (let count = 0; count < 9; count += 1) {
      assert.equal((await post('/api/v1/login', '{}', { headers: { cookie: before } })).status, 200);
    }
    const forged = { headers: { cookie: 'booster_device=anything' } };
    assert.equal((await post('/api/v1/login', '{}', forged)).status, 429);
  });
  await check('an IPv6 network counts as one, whatever its addresses', async () => {
    const answers = [];
    for (let count = 1; count <= 9; count += 1) {
      answers.push(await post('/api/v1/login', '{}', { headers: { 'x-test-address': `fd00:ab::${count}:0:0:1` } }));
    }
    assert.equal(answers[0].status, 200);
    assert.equal(answers.at(-1).status, 429);
    for (const other of ['fd00:ab:0:1::1', '192.0.2.1', '192.0.2.2']) {
      assert.equal((await post('/api/v1/login', '{}', { headers: { 'x-test-address': other } })).status, 200, other);
    }
  });
  await monitor.stop();
  await models.stop();
}

async function plainPort() {
  await check('the plain port sends browsers to HTTPS', async () => {
    const answer = await get('/settings?x=1', { base: place.plain });
    assert.equal(answer.status, 307);
    assert.equal(answer.headers.location, `${place.base}/settings?x=1`);
  });
  await check('the plain port refuses whatever may carry a secret', async () => {
    const answer = await post('/query', '{}', { base: place.plain });
    assert.equal(answer.status, 403);
    assert.match(JSON.parse(answer.body).detail, /HTTPS only/);
  });
  await check('the authority’s certificate comes from both ports, as a certificate', async () => {
    for (const base of [place.base, place.plain]) {
      const answer = await get('/ca.crt', { base });
      assert.equal(answer.headers['content-type'], 'application/x-x509-ca-cert');
      assert.equal(answer.body, ca.toString());
    }
  });
  await check('its private key does not', async () => {
    for (const path of ['/ca.key', '/tls/ca.key', '/pages/../ca.key', '/ca.crt/../ca.key']) {
      assert.doesNotMatch((await get(path)).body, /PRIVATE/, path);
    }
  });
  await check('how to trust the box is told in the browser’s language, or the one asked for', async () => {
    for (const base of [place.base, place.plain]) {
      const page = async (path, language) => (await get(path, { base, headers: { 'accept-language': language } })).body;
      assert.match(await page('/ca', 'es-ES,es;q=0.9,en;q=0.8'), /<html lang="es">/);
      assert.match(await page('/ca', 'ca,es;q=0.9,en;q=0.8'), /<html lang="es">/);
      assert.match(await page('/ca', 'en-US,en;q=0.9,es;q=0.8'), /<html lang="en">/);
      assert.match(await page('/ca', 'de'), /<html lang="en">/);
      assert.match(await page('/ca?lang=es', 'en'), /<html lang="es">/);
      assert.equal((await get('/pages/page.css', { base })).status, 200);
    }
  });
  await check('a second authority is offered where there is one, and only there', async () => {
    const next = place.path('var/lib/actionbooster/tls/ca-next.crt');
    for (const base of [place.base, place.plain]) {
      const pages = async () =>
        (await Promise.all(['en', 'es'].map((lang) => get(`/ca?lang=${lang}`, { base })))).map(({ body }) => body);
      for (const body of await pages()) {
        assert.doesNotMatch(body, /ca-next|<!--#/);
        assert.match(body, /<code>\.local<\/code>/);
      }
      assert.equal((await get('/ca-next.crt', { base })).status, 404);
      assert.equal((await get('/ca/both', { base })).status, 404);
      writeFileSync(next, ca);
      for (const body of await pages()) {
        assert.match(body, /href="\/ca-next\.crt"/);
        assert.doesNotMatch(body, /<!--#/);
      }
      const answer = await get('/ca-next.crt', { base });
      assert.equal(answer.headers['content-type'], 'application/x-x509-ca-cert');
      assert.equal(answer.body, ca.toString());
      rmSync(next);
    }
  });
  await check('plain HTTP on the TLS port is sent to HTTPS', async () => {
    const answer = await get('/box', { base: `http://127.0.0.1:${place.https}` });
    assert.equal(answer.status, 307);
    assert.equal(answer.headers.location, `${place.base}/box`);
  });
}

async function damaged() {
  const marker = place.path('run/actionbooster/data-damaged');
  writeFileSync(marker, 'superblock unreadable\n');
  await check('a box whose data is damaged says so on every page, in both languages', async () => {
    for (const path of ['/', '/settings', '/index.html']) {
      const answer = await get(path, { headers: { 'accept-language': 'en' } });
      assert.equal(answer.status, 503, path);
      assert.match(answer.body, /Nothing has been erased/, path);
    }
    assert.match((await get('/', { headers: { 'accept-language': 'es' } })).body, /No se ha borrado nada/);
    assert.match((await get('/?lang=es')).body, /No se ha borrado nada/);
  });
  await check('its API and its certificate still answer', async () => {
    const monitor = await daemon(place.socket('monitor'), (_, response) => response.end('{"status":"degraded"}'));
    assert.equal((await get('/health')).status, 200);
    assert.equal((await get('/ca.crt')).status, 200);
    await monitor.stop();
  });
  rmSync(marker);
  await check('it serves the portal again when the damage is gone', async () => {
    assert.equal((await get('/')).status, 200);
  });
}

function assetPath() {
  const index = readFileSync(place.path('usr/share/actionbooster/portal/index.html'), 'utf8');
  return /src="(\/assets\/[^"]+\.js)"/.exec(index)[1];
}

function open(path, { base = place.base, method = 'GET', headers = {}, body } = {}) {
  const send = base.startsWith('https') ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const options = { method, headers, ...(send === httpsRequest ? { agent } : {}) };
    const request = send(base + path, options, resolve);
    // nginx may refuse a large body before it is sent; the answer then still counts.
    request.on('error', (cause) => (cause.code === 'EPIPE' || request.res ? undefined : reject(cause)));
    request.end(body);
  });
}

async function get(path, options) {
  const response = await open(path, options);
  const pieces = [];
  for await (const piece of response) pieces.push(piece);
  return { status: response.statusCode, headers: response.headers, body: Buffer.concat(pieces).toString() };
}

function post(path, body, options = {}) {
  const headers = { 'content-type': 'application/json', ...options.headers };
  return get(path, { ...options, method: 'POST', body, headers });
}

/** Resolves with the event, or fails naming it. */
function within(event, name, limit = 5000) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${limit} ms for ${name}`)), limit);
  });
  return Promise.race([event, late]).finally(() => clearTimeout(timer));
}
