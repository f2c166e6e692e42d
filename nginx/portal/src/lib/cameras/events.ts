/** What the box tells as it happens, folded into what the page shows. */
import type { Camera, Detection, Standing } from './camera';

/** Boxes are shown for so long after the last detection. */
export const FRESH_MS = 1500;

/** What a camera tells; the members that every kind has, and those of some. */
export interface CameraEvent {
  camera: string;
  session?: string | null;
  reason?: string;
  part?: 'source' | 'detector';
  state?: Standing['state'];
  source?: Standing['source_state'];
  detector?: Standing['detector'];
  detections?: Detection[];
  recording_stopped?: string | null;
}

/** What a camera sees now, and since when by the clock of this page. */
export interface Sight {
  detections: Detection[];
  at: number;
}

export type Sights = Readonly<Record<string, Sight>>;

/** The cameras after an event. The same list when nothing that is shown has changed. */
export function fold(cameras: Camera[], kind: string, event: CameraEvent): Camera[] {
  const known = cameras.find(({ id }) => id === event.camera);
  const change = known ? changed(known, kind, event) : null;
  if (!change) return cameras;
  return cameras.map((camera) => (camera.id === event.camera ? { ...camera, ...change } : camera));
}

function changed(camera: Camera, kind: string, event: CameraEvent): Partial<Standing> | null {
  switch (kind) {
    case 'ai.detection':
      // Whoever sees something has a picture and a detector, before the next keep-alive says so.
      if (camera.source_state?.state === 'live' && camera.detector?.state === 'ready') return null;
      return { running: true, source_state: { state: 'live' }, detector: { state: 'ready' } };
    case 'ai.keepalive':
      return {
        running: true,
        state: event.state ?? null,
        source_state: event.source ?? null,
        detector: event.detector ?? null,
        session: event.session ?? null,
        recording_stopped: event.recording_stopped ?? null,
      };
    case 'ai.session_started':
      return { session: event.session ?? null, state: 'active' };
    case 'ai.session_ended':
      return { session: null, state: 'idle' };
    case 'camera.recording_stopped':
      return { recording_stopped: event.reason ?? '' };
    case 'camera.lost': {
      const reason = event.reason ?? '';
      return event.part === 'detector'
        ? { detector: { state: 'lost', reason } }
        : { source_state: { state: 'lost', reason } };
    }
    case 'camera.back':
      return event.part === 'detector' ? { detector: { state: 'ready' } } : { source_state: { state: 'live' } };
    default:
      return null;
  }
}

/** What is seen after an event, without what is too old to be shown. */
export function look(sights: Sights, kind: string, event: CameraEvent, now: number): Sights {
  if (kind !== 'ai.detection' || !event.detections) return sights;
  return { ...fresh(sights, now), [event.camera]: { detections: event.detections, at: now } };
}

/** What may still be shown. The same object when nothing has aged. */
export function fresh(sights: Sights, now: number): Sights {
  const entries = Object.entries(sights);
  const young = entries.filter(([, sight]) => now - sight.at < FRESH_MS);
  return young.length === entries.length ? sights : Object.fromEntries(young);
}

/** How often each class is seen, the most frequent first. */
export function counts(detections: Pick<Detection, 'label'>[]): [label: string, count: number][] {
  const found = new Map<string, number>();
  for (const { label } of detections) found.set(label, (found.get(label) ?? 0) + 1);
  return [...found].sort((left, right) => right[1] - left[1] || left[0].localeCompare(right[0]));
}

/** What is seen, in one line. */
export function inWords(seen: [label: string, count: number][]): string {
  return seen.map(([label, count]) => (count > 1 ? `${label} ×${count}` : label)).join(', ');
}
