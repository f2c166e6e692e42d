/** A camera as the box tells it, and what its state means to a person. */

/** Something that was seen; its box is told in fractions of the picture, from 0 to 1. */
export interface Detection {
  label: string;
  score: number;
  x: number;
  y: number;
  width: number;
  height: number;
}

export type Source =
  | { kind: 'v4l2'; device: string }
  | { kind: 'rtsp' | 'http'; url: string }
  | { kind: 'file' | 'folder'; path: string; repeat: boolean };

/** A corner, `[x, y]`, in fractions of the picture from its top left. */
export type Corner = [number, number];

export interface Mask {
  points: Corner[];
}

/** What the owner says about a camera. */
export interface CameraSettings {
  id: string;
  name: string;
  source: Source;
  model: string;
  threshold: number;
  classes: string[];
  fps_idle: number;
  fps_active: number;
  masks: Mask[];
  enabled: boolean;
  record: boolean;
  dwell_ms: number;
  silence_ms: number;
  post_roll_ms: number;
  pre_roll_ms: number;
}

export interface SourceState {
  state: 'connecting' | 'live' | 'lost' | 'ended';
  reason?: string;
}

export interface Link {
  state: 'connecting' | 'loading' | 'ready' | 'lost';
  reason?: string;
}

/** How a camera stands. What is null was not told yet. */
export interface Standing {
  running: boolean;
  state: 'idle' | 'dwell' | 'active' | 'closing' | null;
  source_state: SourceState | null;
  detector: Link | null;
  /** The session that is open. */
  session: string | null;
  /** Why it is not recorded any further. */
  recording_stopped?: string | null;
}

export type Camera = CameraSettings & Standing;

/** The settings alone, as the box takes them back. What a newer box adds to them stays. */
export function settingsOf(camera: Camera): CameraSettings {
  const { running: _1, state: _2, source_state: _3, detector: _4, session: _5, recording_stopped: _6, ...settings } = camera;
  return settings;
}

/** The name for people, which may be left empty. */
export function nameOf(camera: Pick<Camera, 'id' | 'name'>): string {
  return camera.name.trim() || camera.id;
}

/** One thing to say about a camera. */
export interface Remark {
  key:
    | 'off'
    | 'starting'
    | `source.${SourceState['state']}`
    | `detector.${Link['state']}`
    | 'recording.stopped'
    | `session.${Exclude<NonNullable<Standing['state']>, 'idle'>}`;
  tone: 'plain' | 'good' | 'bad';
  reason: string;
}

const tones: Record<string, Remark['tone']> = { live: 'good', ready: 'good', active: 'good', closing: 'good', lost: 'bad' };

/** What to say about a camera: its source first, then the detector, then whether something goes on. */
export function remarks(camera: Camera): Remark[] {
  const remark = (key: Remark['key'], state: string, reason = ''): Remark => ({ key, tone: tones[state] ?? 'plain', reason });
  if (!camera.enabled) return [remark('off', 'off')];
  const { source_state: source, detector, state } = camera;
  if (!source) return [remark('starting', 'starting')];
  const said = [remark(`source.${source.state}`, source.state, source.reason)];
  if (detector) said.push(remark(`detector.${detector.state}`, detector.state, detector.reason));
  if (state && state !== 'idle') said.push(remark(`session.${state}`, state));
  if (camera.recording_stopped) said.push(remark('recording.stopped', 'lost', camera.recording_stopped));
  return said;
}

/** An id made of a name: what addresses and folders can hold, and no other camera has. */
export function idFor(name: string, taken: string[]): string {
  const plain = name
    .normalize('NFD')
    .replace(/\p{Diacritic}/gu, '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .slice(0, 28)
    .replace(/^-+|-+$/g, '');
  const first = plain || 'camera';
  let id = first;
  for (let number = 2; taken.includes(id); number += 1) id = `${first}-${number}`;
  return id;
}
