/** A real Chromium that trusts exactly the box under test, and a watch on what its pages do. */
import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect } from 'node:tls';
import { setTimeout as pause } from 'node:timers/promises';
import axe from 'axe-core';
import { chromium } from 'playwright-core';

const CHROMIUM = '/usr/bin/chromium';
/** A page is at rest when it asked for nothing in this time. */
const CALM_MS = 500;
const LOOK_MS = 50;
const PENDING_LIMIT_MS = 30_000;
const QUIET = [
  ...['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'],
  ...['--disable-component-update', '--disable-sync'],
];

/**
 * Checks the box's certificate against its authority, as a browser with the authority installed
 * would, and returns the hash that pins it.
 */
export function verifiedPin(baseUrl, caPath) {
  const { hostname, port } = new URL(baseUrl);
  return new Promise((resolve, reject) => {
    const options = { host: hostname, port: Number(port || 443), ca: readFileSync(caPath) };
    const socket = connect(options, () => {
      const { raw } = socket.getPeerCertificate();
      const spki = new X509Certificate(raw).publicKey.export({ type: 'spki', format: 'der' });
      socket.end();
      resolve(createHash('sha256').update(spki).digest('base64'));
    });
    socket.once('error', reject);
  });
}

/** Starts Chromium with a profile of its own. */
export function launch(pin) {
  return chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    args: [...QUIET, `--ignore-certificate-errors-spki-list=${pin}`],
  });
}

/** Collects what no page of ours may do: requests elsewhere, policy violations, script errors. */
export class Watch {
  faults = [];

  constructor(origin) {
    this.origin = origin;
  }

  /** Watches a context and every page it opens. */
  async over(context) {
    await context.addInitScript(() => {
      addEventListener('securitypolicyviolation', (event) => {
        console.error(`policy violation: ${event.violatedDirective} ${event.blockedURI}`);
      });
    });
    context.on('request', (request) => {
      const url = new URL(request.url());
      if (url.origin !== this.origin) this.faults.push(`request to ${request.url()}`);
    });
    context.on('console', (message) => {
      // A refusal that the test provokes is logged by the browser as a failed resource.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) {
        this.faults.push(`${message.page()?.url()}: ${message.text()}`);
      }
    });
    context.on('weberror', (error) => this.faults.push(String(error.error())));
  }
}

/** Requests of a page that are not answered yet, besides the stream of events, which never ends. */
export class Pending {
  #requests = new Set();

  constructor(page) {
    page.on('request', (request) => {
      if (!request.url().endsWith('/api/v1/events')) this.#requests.add(request);
    });
    for (const end of ['requestfinished', 'requestfailed']) page.on(end, (request) => this.#requests.delete(request));
    // What the page before has asked for ends without a word.
    page.on('framenavigated', (frame) => frame === page.mainFrame() && this.#requests.clear());
  }

  /** Resolves when nothing was asked for in a while. */
  async none() {
    const until = Date.now() + PENDING_LIMIT_MS;
    for (let calm = 0; calm < CALM_MS; calm += LOOK_MS) {
      if (this.#requests.size > 0) calm = -LOOK_MS;
      if (Date.now() > until) throw new Error(`not answered: ${[...this.#requests].map((request) => request.url()).join(', ')}`);
      await pause(LOOK_MS);
    }
  }
}

/** Fails with a list when axe finds something serious or worse on the page. */
export async function assertAccessible(page, name) {
  // Through the debugger, which the page's policy does not concern.
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }),
  );
  const grave = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  const lines = grave.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html}\n${failureSummary}`).join('\n')}`);
  assert.deepEqual(lines, [], name);
}

/** Fails when the page is wider than its window. */
export async function assertFits(page, name) {
  const { wide, window: room } = await page.evaluate(() => ({
    wide: document.scrollingElement.scrollWidth,
    window: innerWidth,
  }));
  assert.ok(wide <= room, `${name} is ${wide} pixels wide in a window of ${room}`);
}
