/** The settings of a camera while they are typed: texts as the fields hold them, and what is wrong with them. */
import { idFor, type CameraSettings, type Mask, type Source } from './camera';

export const KINDS = ['rtsp', 'http', 'v4l2', 'file', 'folder'] as const;

export interface Draft {
  /** Empty: made of the name. */
  id: string;
  name: string;
  kind: Source['kind'];
  /** Where the pictures come from, for each kind what was typed last. */
  places: Record<Source['kind'], string>;
  repeat: boolean;
  model: string;
  threshold: number;
  classes: string[];
  masks: Mask[];
  record: boolean;
  enabled: boolean;
  /** Fields with a number, as typed; times in seconds. */
  numbers: Record<NumberField, string>;
}

export type NumberField = keyof typeof LIMITS;

/** What each number may be, as the box accepts it; times in seconds. */
export const LIMITS = {
  fps_idle: { least: 1, most: 60, usual: 5, whole: true },
  fps_active: { least: 1, most: 60, usual: 12, whole: true },
  dwell_ms: { least: 0, most: 60, usual: 1, whole: false },
  silence_ms: { least: 0, most: 600, usual: 5, whole: false },
  post_roll_ms: { least: 0, most: 600, usual: 3, whole: false },
  pre_roll_ms: { least: 0, most: 30, usual: 3, whole: false },
} as const;

export const NUMBER_FIELDS = Object.keys(LIMITS) as NumberField[];

/** What is wrong with a field: which text says it, and the values in it. */
export interface Fault {
  key: 'empty' | 'model' | 'id' | 'range' | 'rates' | 'device' | 'path' | 'address';
  values?: Record<string, string | number>;
}

export type Faults = Partial<Record<string, Fault>>;

const PLACES = { rtsp: 'rtsp://', http: 'http://', v4l2: '/dev/video0', file: '', folder: '' };
const SECOND = 1000;

/** A camera that is not there yet. */
export function blank(model: string): Draft {
  const numbers = Object.fromEntries(NUMBER_FIELDS.map((field) => [field, String(LIMITS[field].usual)]));
  return {
    id: '',
    name: '',
    kind: 'rtsp',
    places: { ...PLACES },
    repeat: true,
    model,
    threshold: 0.35,
    classes: [],
    masks: [],
    record: false,
    enabled: true,
    numbers: numbers as Draft['numbers'],
  };
}

/** The settings of a camera, to be changed. */
export function draftOf(camera: CameraSettings): Draft {
  const { source } = camera;
  const shown = (field: NumberField) => String(LIMITS[field].whole ? camera[field] : camera[field] / SECOND);
  return {
    ...blank(camera.model),
    id: camera.id,
    name: camera.name,
    kind: source.kind,
    places: { ...PLACES, [source.kind]: placeOf(source) },
    repeat: 'repeat' in source ? source.repeat : true,
    threshold: camera.threshold,
    classes: [...camera.classes],
    masks: camera.masks,
    record: camera.record,
    enabled: camera.enabled,
    numbers: Object.fromEntries(NUMBER_FIELDS.map((field) => [field, shown(field)])) as Draft['numbers'],
  };
}

/** Where a source lies, in one text. */
export function placeOf(source: Source): string {
  if ('device' in source) return source.device;
  return 'url' in source ? source.url : source.path;
}

/** What is wrong, by the name of the field as the box calls it. Empty when the box may be asked. */
export function faults(draft: Draft): Faults {
  const found: Faults = {};
  const place = draft.places[draft.kind].trim();
  const fault = sourceFault(draft.kind, place);
  if (fault) found.source = fault;
  if (draft.name.trim() === '') found.name = { key: 'empty' };
  if (draft.model === '') found.model = { key: 'model' };
  if (draft.id !== '' && !/^[a-z0-9-]{1,32}$/.test(draft.id)) found.id = { key: 'id' };
  for (const field of NUMBER_FIELDS) {
    const { least, most, whole } = LIMITS[field];
    const value = numberOf(draft.numbers[field]);
    const fits = value !== null && value >= least && value <= most && (!whole || Number.isInteger(value));
    if (!fits) found[field] = { key: 'range', values: { least, most } };
  }
  const [idle, active] = [numberOf(draft.numbers.fps_idle), numberOf(draft.numbers.fps_active)];
  if (!found.fps_idle && !found.fps_active && (idle ?? 0) > (active ?? 0)) {
    found.fps_idle = { key: 'rates', values: { most: active ?? 0 } };
  }
  return found;
}

function sourceFault(kind: Source['kind'], place: string): Fault | null {
  switch (kind) {
    case 'v4l2':
      return /^\/dev\/video\d{1,3}$/.test(place) ? null : { key: 'device' };
    case 'rtsp':
      return /^rtsps?:\/\/[^/\s]+\S*$/.test(place) ? null : { key: 'address', values: { scheme: 'rtsp://' } };
    case 'http':
      return /^https?:\/\/[^/\s]+\S*$/.test(place) ? null : { key: 'address', values: { scheme: 'http://' } };
    default:
      return place.startsWith('/') ? null : { key: 'path' };
  }
}

/** What was typed, as a number; null when it is none. */
function numberOf(typed: string): number | null {
  const value = typed.trim() === '' ? Number.NaN : Number(typed.trim().replace(',', '.'));
  return Number.isFinite(value) ? value : null;
}

/** The settings that a draft without faults stands for. `taken` are the ids of other cameras. */
export function settings(draft: Draft, taken: string[]): CameraSettings {
  const value = (field: NumberField) => numberOf(draft.numbers[field]) ?? LIMITS[field].usual;
  const number = (field: NumberField) => Math.round(LIMITS[field].whole ? value(field) : value(field) * SECOND);
  return {
    id: draft.id || idFor(draft.name, taken),
    name: draft.name.trim(),
    source: sourceOf(draft),
    model: draft.model,
    threshold: draft.threshold,
    classes: [...draft.classes],
    masks: draft.masks,
    enabled: draft.enabled,
    record: draft.record,
    fps_idle: number('fps_idle'),
    fps_active: number('fps_active'),
    dwell_ms: number('dwell_ms'),
    silence_ms: number('silence_ms'),
    post_roll_ms: number('post_roll_ms'),
    pre_roll_ms: number('pre_roll_ms'),
  };
}

function sourceOf({ kind, places, repeat }: Draft): Source {
  const place = places[kind].trim();
  switch (kind) {
    case 'v4l2':
      return { kind, device: place };
    case 'rtsp':
    case 'http':
      return { kind, url: place };
    default:
      return { kind, path: place, repeat };
  }
}

/** The field that a refusal of the box is about: `source.url` belongs to `source`. */
export function fieldOf(param: string | undefined): string {
  return (param ?? '').split('.')[0] ?? '';
}
