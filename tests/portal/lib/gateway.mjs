/** The real nginx with our configuration below a root of its own, and daemons to put behind it. */
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';

const NGINX = join(import.meta.dirname, '../../../nginx');
const START_LIMIT_MS = 10_000;
/** Lets a test say where it comes from; only the copy of the configuration that it uses knows of it. */
const PRETENCE = 'set_real_ip_from 127.0.0.1; real_ip_header X-Test-Address; ';

/** Lays out the root: rendered configuration, certificate, portal. Nothing runs yet. */
export async function layOut({ portal = join(NGINX, 'portal/dist') } = {}) {
  const root = mkdtempSync(join(tmpdir(), 'gateway-'));
  const [https, http] = await Promise.all([freePort(), freePort()]);
  for (const folder of ['run/actionbooster', 'var/lib/actionbooster/tls', 'usr/share/actionbooster', 'etc']) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  cpSync(join(NGINX, 'conf'), join(root, 'etc/nginx'), { recursive: true });
  const values = {
    ROOT: root,
    USER: 'root',
    ADDRESS: '127.0.0.1',
    IPV6: '#',
    HTTPS_PORT: String(https),
    HTTP_PORT: String(http),
  };
  for (const name of readdirSync(join(root, 'etc/nginx'), { recursive: true })) {
    if (!name.endsWith('.conf')) continue;
    const path = join(root, 'etc/nginx', name);
    const text = readFileSync(path, 'utf8').replace(/@([A-Z0-9_]+)@/g, (whole, key) => values[key] ?? whole);
    writeFileSync(path, name === 'nginx.conf' ? text.replace('include site.conf;', `${PRETENCE}include site.conf;`) : text);
  }
  cpSync(portal, join(root, 'usr/share/actionbooster/portal'), { recursive: true });
  makeCertificates(join(root, 'var/lib/actionbooster/tls'));
  return {
    root,
    https,
    http,
    configuration: join(root, 'etc/nginx/nginx.conf'),
    ca: join(root, 'var/lib/actionbooster/tls/ca.crt'),
    base: `https://127.0.0.1:${https}`,
    plain: `http://127.0.0.1:${http}`,
    socket: (daemon) => join(root, 'run/actionbooster', `${daemon}.sock`),
    path: (below) => join(root, below),
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}

/** Starts nginx and resolves when both ports answer; the result stops it. */
export async function startNginx(place) {
  const child = spawn('nginx', ['-e', 'stderr', '-c', place.configuration, '-g', 'daemon off;'], {
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (piece) => (said += piece));
  const ended = new Promise((resolve) => child.once('exit', resolve));
  const until = Date.now() + START_LIMIT_MS;
  while (!(await answers(place.https)) || !(await answers(place.http))) {
    if (child.exitCode !== null || Date.now() > until) throw new Error(`nginx did not start:\n${said}`);
    await pause(30);
  }
  return {
    log: () => said,
    stop: async () => {
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** A daemon on a Unix socket; resolves when it listens. */
export async function daemon(path, handler) {
  const server = createServer(handler);
  await new Promise((resolve, reject) => server.once('error', reject).listen(path, resolve));
  return {
    stop: () =>
      new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
        if (existsSync(path)) rmSync(path);
      }),
  };
}

function makeCertificates(folder) {
  const openssl = (...argv) => execFileSync('openssl', argv, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.crt', '-days', '2', '-subj', '/CN=Test authority');
  openssl('req', ...key, '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=box');
  writeFileSync(join(folder, 'names'), 'subjectAltName=IP:127.0.0.1,DNS:localhost\n');
  openssl(
    ...['x509', '-req', '-in', 'server.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial', '-days', '2'],
    ...['-extfile', 'names', '-out', 'server.crt'],
  );
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createTcpServer();
    server.once('error', reject).listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}
