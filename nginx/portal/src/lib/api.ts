/**
 * The box's HTTP interface as the portal uses it: every path and shape in one place.
 * Refusals are RFC 9457 problems and become `ApiError`; a box that does not answer becomes one
 * with status 0.
 */
import type { Storage } from './storage';

/** A text in both of the product's languages. */
export interface Localized {
  en: string;
  es: string;
}

export interface Owner {
  name: string;
}

export interface Session {
  owner: Owner | null;
  scopes: string[];
  via: 'session' | 'key';
}

export interface Component {
  name: string;
  status: string;
  detail?: string | null;
}

export interface Health {
  status: 'ok' | 'degraded' | 'starting';
  version: string;
  components: Component[];
}

export interface Model {
  id: string;
  name: string;
  description: Localized;
  languages: string[];
  roles: string[];
  size_bytes: number;
  built_in: boolean;
  licence: string;
  state: 'idle' | 'loading' | 'ready' | 'failed';
  reason?: string | null;
  pinned?: boolean;
  options?: ModelOptions;
  /** What it takes when loaded; null when its file is not sound. */
  needs_bytes?: number | null;
}

/** How a model is used when a request does not say. Absent means as the model itself says. */
export interface ModelOptions {
  context_tokens?: number | null;
  keep_alive_s?: number | null;
  temperature?: number | null;
  system?: string | null;
}

/** Bytes for models; `bytes` is null when there is no limit. */
export interface Budget {
  bytes: number | null;
  used_bytes: number;
}

export interface Running {
  id: string;
  state: 'loading' | 'ready' | 'unloading';
  bytes: number;
  in_flight: number;
  waiting: number;
  pinned: boolean;
}

export interface CatalogModel {
  kind: 'language' | 'detector';
  id: string;
  name: string;
  family: string;
  licence: string;
  size_bytes: number;
  needs_bytes: number;
  languages: string[];
  roles: string[];
  /** Width and height of the pictures that a detector looks at. */
  input?: [number, number];
  description: Localized;
  installed: boolean;
  fits: boolean;
  suggested: boolean;
  why: Localized;
}

export interface Upload {
  upload: string;
  id: string;
  size_bytes: number;
  received_bytes: number;
  chunk_bytes: number;
}

export interface Import {
  import: string;
  state: 'running' | 'checking' | 'done' | 'failed';
  id: string | null;
  received_bytes: number;
  size_bytes: number | null;
  reason: string | null;
}

export type Scope = 'infer' | 'jobs' | 'interactive' | 'read' | 'admin';

export interface ApiKey {
  id: string | number;
  name: string;
  scopes: Scope[];
  created_at: string | number;
  hint: string;
}

export interface Settings {
  online: boolean;
  hostname: string;
  /** How the network finds the box now. */
  mdns_name: string | null;
  /** The name it should have and another device on the network has. */
  taken_name: string | null;
  time_zone: string;
  ssh_keys: string[];
  /** What in the box's file of settings cannot be used. */
  faults: { field: string; detail: string }[];
  /** Absent unless the box could not put the change into effect by itself. */
  applied?: boolean;
}

/** The box's clock. */
export interface Clock {
  unix_ms: number;
  time_zone: string;
  source: 'ntp' | 'owner' | 'rtc' | 'unknown';
  believed: boolean;
  synchronised: boolean;
}

export interface Asset {
  id: string;
  kind: 'text' | 'image' | 'video';
  created_at: string;
  pinned: boolean;
  parameters: Record<string, unknown>;
  files: { name: string; media_type: string; size_bytes: number }[];
}

export interface Generation {
  id: string;
  kind: string;
  status: 'queued' | 'running' | 'succeeded' | 'failed' | 'cancelled';
  progress: number;
  reason: string | null;
}

/** The authority that devices trust, the one that follows it, and the server's certificate. */
export interface Certificates {
  ca_sha256: string;
  ca_name: string;
  ca_not_after: string;
  /** Whether devices refuse what the authority signs for names beyond the home. */
  ca_limited: boolean;
  next: { sha256: string; name: string; from: string } | null;
  not_after: string;
  names: string[];
}

/** The provisioner's report. Parts are optional because a damaged box reports less. */
export interface Provisioning {
  generated_at: string;
  result: 'ok' | 'degraded';
  mode: { name: string; title: Localized; reasons: Localized[] };
  memory?: {
    total_bytes: number;
    zram_bytes: number;
    swappiness: number;
    model_budget_bytes: number;
    daemon_limits: Record<string, number>;
  };
  network?: { hostname: string; mdns_name: string; taken_name?: string | null; online: boolean; addresses: string[] };
  firewall?: { incoming: unknown[]; outgoing: unknown[] };
  tls?: Certificates;
  /** What the key of the secrets on the disk is bound to, and how many older keys the TPM does not open. */
  secrets?: { bound_to: 'tpm' | 'disk'; closed: number } | null;
  accelerators?: { device: string; groups: string[]; given_to: string[] }[];
  missing_firmware?: { driver: string; device: string; file: string; package: string | null; advice: Localized }[];
  storage?: { data: 'ok' | 'damaged'; detail: Localized | null; encrypted?: boolean };
  /** Files below /etc that were changed on the box and hide what this version brings. */
  hidden_in_etc?: string[];
  steps?: { name: string; status: 'unchanged' | 'applied' | 'failed' | 'skipped'; detail: string | null }[];
}

export interface Hardware {
  board: { kind: string; name: string; vendor: string | null };
  cpu: {
    architecture: string;
    model: string;
    logical_cpus: number;
    features: Record<string, boolean>;
    clusters: { cpus: number[]; core: string; max_khz: number | null; capacity: number }[];
  };
  memory: { total_bytes: number };
  npus: { name: string; driver: string | null; device_node: string | null }[];
  gpus: { name: string; vendor: string; driver: string | null; render_node: string | null; vram_bytes: number | null }[];
  disks: { device_node: string; model: string; bus: string; size_bytes: number; removable: boolean; system: boolean }[];
  interfaces: { name: string; kind: string; mac: string | null; speed_mbps: number | null }[];
  cameras: { name: string; device_node: string }[];
  microphones: { name: string; card: number }[];
  tpm: { device_node: string; version_major: number } | null;
  watchdogs: { device_node: string; identity: string }[];
  kvm: boolean;
}

/** The body of a refusal. */
export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  /** Where an upload stopped. */
  received_bytes?: number;
  /** The upload that brings the same model already. */
  upload?: string;
  /** Bytes that would have to be free besides those that are. */
  missing_bytes?: number;
  /** The field of the body that is refused. */
  param?: string;
}

/** A refusal, or (status 0) a box that does not answer. */
export class ApiError extends Error {
  override name = 'ApiError';

  constructor(
    readonly status: number,
    readonly problem: Problem,
    /** Seconds after which to try again, if the box said. */
    readonly retryAfter: number | null = null,
  ) {
    super(problem.detail ?? problem.title ?? `HTTP ${status}`);
  }

  /** The last word of the problem's type, such as `wrong-code`. */
  get kind(): string {
    return (this.problem.type ?? '').replace(/^.*[/:#]/, '');
  }
}

let onSignedOut: () => void = () => undefined;

/** Says what to do when the box no longer accepts the session. */
export function whenSignedOut(callback: () => void): void {
  onSignedOut = callback;
}

type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

export async function send(method: Method, path: string, body?: unknown, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (!headers.has('accept')) headers.set('accept', 'application/json');
  if (body !== undefined && !(body instanceof Blob)) headers.set('content-type', 'application/json');
  let response: Response;
  try {
    response = await fetch(path, {
      cache: 'no-store',
      ...init,
      method,
      headers,
      body: body === undefined ? null : body instanceof Blob ? body : JSON.stringify(body),
    });
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause;
    throw new ApiError(0, { type: 'unreachable' });
  }
  if (!response.ok) {
    const wait = Number.parseInt(response.headers.get('retry-after') ?? '', 10);
    throw new ApiError(response.status, await problemOf(response), Number.isNaN(wait) ? null : wait);
  }
  return response;
}

async function problemOf(response: Response): Promise<Problem> {
  const type = response.headers.get('content-type') ?? '';
  if (!type.includes('json')) return { title: `HTTP ${response.status}` };
  try {
    const body = await response.json();
    // OpenAI's surface words its refusals in its own way.
    return body.error?.message ? { type: body.error.code, status: response.status, detail: body.error.message } : body;
  } catch {
    return { title: `HTTP ${response.status}` };
  }
}

/** The session is gone. A wrong password is also a 401, but of another kind. */
function sessionEnded(cause: unknown): boolean {
  return cause instanceof ApiError && cause.status === 401 && cause.kind !== 'wrong-credentials';
}

/** A request of somebody who is signed in. */
export async function call<T>(method: Method, path: string, body?: unknown, init?: RequestInit): Promise<T> {
  try {
    const response = await send(method, path, body, init);
    return (response.status === 204 ? undefined : await response.json()) as T;
  } catch (cause) {
    if (sessionEnded(cause)) onSignedOut();
    throw cause;
  }
}

/** The same where only whether it was done counts. */
export async function tell(method: Method, path: string, body?: unknown, init?: RequestInit): Promise<void> {
  try {
    await (await send(method, path, body, init)).body?.cancel();
  } catch (cause) {
    if (sessionEnded(cause)) onSignedOut();
    throw cause;
  }
}

/** A request whose answer comes piece by piece. */
export async function stream(method: Method, path: string, body: unknown, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
  try {
    const response = await send(method, path, body, { signal, headers: { accept: 'text/event-stream' } });
    if (response.body) return response.body;
  } catch (cause) {
    if (sessionEnded(cause)) onSignedOut();
    throw cause;
  }
  throw new ApiError(0, { type: 'unreachable' });
}

/** A request that needs no session. */
async function open<T>(method: Method, path: string, body?: unknown, init?: RequestInit): Promise<T> {
  return (await (await send(method, path, body, init)).json()) as T;
}

const modelPath = (id: string) => `/api/v1/models/${encodeURIComponent(id)}`;
const uploadPath = (upload: string) => `/api/v1/models/uploads/${encodeURIComponent(upload)}`;

export const api = {
  health: (signal?: AbortSignal) => open<Health>('GET', '/health', undefined, signal ? { signal } : {}),
  claimed: async () => (await open<{ claimed: boolean }>('GET', '/api/v1/claim')).claimed,
  claim: (code: string, name: string, password: string) =>
    open<{ owner: Owner }>('POST', '/api/v1/claim', { code, name, password, unix_ms: Date.now() }),
  login: (name: string, password: string) => open<{ owner: Owner }>('POST', '/api/v1/login', { name, password }),
  logout: () => call<void>('POST', '/api/v1/logout', {}),
  /** Who is signed in, or null. */
  session: async (): Promise<Session | null> => {
    try {
      return await open<Session>('GET', '/api/v1/session');
    } catch (cause) {
      if (cause instanceof ApiError && cause.status === 401) return null;
      throw cause;
    }
  },
  changePassword: (current: string, next: string) =>
    call<void>('POST', '/api/v1/password', { current, new: next }),
  recoveryKey: async (password: string) =>
    (await call<{ recovery_key: string }>('POST', '/api/v1/recovery-key', { password })).recovery_key,
  models: async () => (await call<{ models: Model[] }>('GET', '/api/v1/models')).models,
  running: (signal?: AbortSignal) =>
    call<{ running: Running[]; budget: Budget }>('GET', '/api/v1/models/running', undefined, signal ? { signal } : {}),
  catalog: async () => (await call<{ models: CatalogModel[] }>('GET', '/api/v1/models/catalog')).models,
  changeModel: (id: string, change: { pinned?: boolean; options?: ModelOptions }) =>
    call<Model & { applies: 'now' | 'when_idle' }>('PATCH', modelPath(id), change),
  loadModel: (id: string) => call<void>('POST', `${modelPath(id)}/load`, {}),
  unloadModel: (id: string) => call<void>('POST', `${modelPath(id)}/unload`, {}),
  verifyModel: (id: string) => call<unknown>('POST', `${modelPath(id)}/verify`, {}),
  removeModel: (id: string, force: boolean) => call<void>('DELETE', `${modelPath(id)}?force=${force}`),
  beginUpload: (file_name: string, size_bytes: number) =>
    call<Upload>('POST', '/api/v1/models/uploads', { file_name, size_bytes }),
  upload: (upload: string) => call<Upload>('GET', uploadPath(upload)),
  sendPiece: async (upload: string, offset: number, piece: Blob, signal: AbortSignal) =>
    (await call<{ received_bytes: number }>('PUT', `${uploadPath(upload)}?offset=${offset}`, piece, { signal }))
      .received_bytes,
  finishUpload: (upload: string) => call<Model>('POST', `${uploadPath(upload)}/finish`, {}),
  dropUpload: (upload: string) => call<void>('DELETE', uploadPath(upload)),
  beginImport: (source: { path: string } | { url: string } | { catalog: string }) =>
    call<Import>('POST', '/api/v1/models/import', source),
  import: (id: string) => call<Import>('GET', `/api/v1/models/imports/${encodeURIComponent(id)}`),
  provisioning: () => call<Provisioning>('GET', '/api/v1/provisioning'),
  hardware: () => call<Hardware>('GET', '/api/v1/hardware'),
  storage: (fresh: boolean) => call<Storage>('GET', `/api/v1/storage?fresh=${fresh}`),
  /** Deletes what a thing of the storage takes. */
  freeStorage: (path: string) => call<unknown>('DELETE', path),
  keys: async () => (await call<{ keys: ApiKey[] }>('GET', '/api/v1/keys')).keys,
  createKey: (name: string, scopes: Scope[]) =>
    call<ApiKey & { key: string }>('POST', '/api/v1/keys', { name, scopes }),
  revokeKey: (id: ApiKey['id']) => call<void>('DELETE', `/api/v1/keys/${encodeURIComponent(id)}`),
  time: () => call<Clock>('GET', '/api/v1/time'),
  setTime: (unixMs: number) => call<Clock>('PUT', '/api/v1/time', { unix_ms: unixMs }),
  settings: () => call<Settings>('GET', '/api/v1/settings'),
  changeSettings: (change: Partial<Omit<Settings, 'applied'>>) => call<Settings>('PATCH', '/api/v1/settings', change),
  power: (action: 'reboot' | 'poweroff') => call<unknown>('POST', '/api/v1/power', { action }),
  assets: (before: string | null) =>
    call<{ assets: Asset[]; next_before: string | null }>(
      'GET',
      `/api/v1/assets?limit=24${before ? `&before=${encodeURIComponent(before)}` : ''}`,
    ),
  /** A file of an asset; it comes as an attachment, so that no browser opens it as a page of the box. */
  assetFile: async (id: string, name: string) =>
    (await send('GET', `/api/v1/assets/${encodeURIComponent(id)}/file/${encodeURIComponent(name)}`)).blob(),
  pinAsset: (id: string, pinned: boolean) =>
    call<Asset>('PATCH', `/api/v1/assets/${encodeURIComponent(id)}`, { pinned }),
  removeAsset: (id: string) => call<void>('DELETE', `/api/v1/assets/${encodeURIComponent(id)}`),
  makeText: (prompt: string) => call<{ id: string; text: string }>('POST', '/text/gen', { prompt }),
  makeImage: (prompt: string) => call<Generation>('POST', '/image/gen', { prompt }),
  makeVideo: (prompt: string) => call<Generation>('POST', '/video/gen', { prompt }),
  generation: (id: string) => call<Generation>('GET', `/api/v1/generations/${encodeURIComponent(id)}`),
  cancelGeneration: (id: string) => call<unknown>('DELETE', `/api/v1/generations/${encodeURIComponent(id)}`),
};
