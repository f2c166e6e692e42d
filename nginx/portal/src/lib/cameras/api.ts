/** The cameras' paths of the box. */
import { ApiError, call, send } from '../api';
import { events } from '../sse';
import type { Camera, CameraSettings } from './camera';
import type { CameraEvent } from './events';
import type { Session, SessionDetails } from './sessions';

/** A detector of the model store, as the worker tells it. */
export interface Detector {
  id: string;
  name: string;
  size_bytes: number;
  licence: string;
  description: { en: string; es: string };
  built_in: boolean;
  loaded: boolean;
  /** How many look through it now. */
  sessions: number;
}

const path = (id: string) => `/api/v1/cameras/${encodeURIComponent(id)}`;
const sessionPath = (id: string, session: string) => `${path(id)}/sessions/${encodeURIComponent(session)}`;

export const cameraApi = {
  list: async () => (await call<{ cameras: Camera[] }>('GET', '/api/v1/cameras')).cameras,
  add: (settings: CameraSettings) => call<Camera>('POST', '/api/v1/cameras', settings),
  change: (settings: CameraSettings) => call<Camera>('PUT', path(settings.id), settings),
  remove: (id: string) => call<void>('DELETE', path(id)),
  /** For the `src` of a picture: pictures as they come. `turn` makes the browser ask anew. */
  live: (id: string, turn: number) => `${path(id)}/live?turn=${turn}`,
  /** For the `src` of a picture: the latest one. */
  snapshot: (id: string, turn: number) => `${path(id)}/snapshot?turn=${turn}`,
  sessions: async (id: string) => (await call<{ sessions: Session[] }>('GET', `${path(id)}/sessions`)).sessions,
  session: (id: string, session: string) => call<SessionDetails>('GET', sessionPath(id, session)),
  removeSession: (id: string, session: string) => call<void>('DELETE', sessionPath(id, session)),
  /** A picture or clip of a session, for `src` and `href`. */
  sessionFile: (id: string, session: string, file: string) =>
    `${sessionPath(id, session)}/${encodeURIComponent(file)}`,
  detectors: async () => (await call<{ detectors: Detector[] }>('GET', '/api/v1/detectors')).detectors,
  classes: async (model: string, signal?: AbortSignal) =>
    (
      await call<{ classes: string[] }>(
        'GET',
        `/api/v1/models/${encodeURIComponent(model)}/classes`,
        undefined,
        signal ? { signal } : {},
      )
    ).classes,
  events: cameraEvents,
};

/** What cameras tell from now on, until the connection ends. `onopen` is called when the box listens. */
async function* cameraEvents(
  signal: AbortSignal,
  onopen: () => void,
): AsyncGenerator<{ kind: string; event: CameraEvent }> {
  const response = await send('GET', '/api/v1/events', undefined, {
    signal,
    headers: { accept: 'text/event-stream' },
  });
  if (!response.body) throw new ApiError(0, { type: 'unreachable' });
  onopen();
  for await (const { event: kind, data } of events(response.body)) {
    if (!kind.startsWith('ai.') && !kind.startsWith('camera.')) continue;
    yield { kind, event: JSON.parse(data) as CameraEvent };
  }
}

/** The field of the body that a refusal is about. */
export function paramOf(cause: unknown): string | undefined {
  return cause instanceof ApiError ? cause.problem.param : undefined;
}
