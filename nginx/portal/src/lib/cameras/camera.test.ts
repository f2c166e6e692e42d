import { describe, expect, it } from 'vitest';
import { idFor, nameOf, remarks, settingsOf, type Camera } from './camera';

const camera: Camera = {
  id: 'door',
  name: 'Front door',
  source: { kind: 'folder', path: '/pictures', repeat: true },
  model: 'shapes',
  threshold: 0.35,
  classes: [],
  fps_idle: 5,
  fps_active: 12,
  masks: [],
  enabled: true,
  record: false,
  dwell_ms: 1000,
  silence_ms: 5000,
  post_roll_ms: 3000,
  pre_roll_ms: 3000,
  running: true,
  state: 'idle',
  source_state: { state: 'live' },
  detector: { state: 'ready' },
  session: null,
};

describe('what is said of a camera', () => {
  const said = (change: Partial<Camera>) => remarks({ ...camera, ...change }).map(({ key, tone, reason }) => `${key} ${tone} ${reason}`.trim());

  it.each<[string, Partial<Camera>, string[]]>([
    ['all is well', {}, ['source.live good', 'detector.ready good']],
    ['it is off, whatever else is known', { enabled: false }, ['off plain']],
    ['nothing was told yet', { source_state: null }, ['starting plain']],
    [
      'its source is gone',
      { source_state: { state: 'lost', reason: 'no route' }, detector: { state: 'connecting' } },
      ['source.lost bad no route', 'detector.connecting plain'],
    ],
    [
      'the worker is gone',
      { detector: { state: 'lost', reason: 'refused' } },
      ['source.live good', 'detector.lost bad refused'],
    ],
    ['a session is open', { state: 'active' }, ['source.live good', 'detector.ready good', 'session.active good']],
    [
      'the disk is full',
      { state: 'active', recording_stopped: 'the disk is full' },
      ['source.live good', 'detector.ready good', 'session.active good', 'recording.stopped bad the disk is full'],
    ],
    ['something is there', { state: 'dwell', detector: null }, ['source.live good', 'session.dwell plain']],
  ])('when %s', (_, change, expected) => {
    expect(said(change)).toEqual(expected);
  });
});

describe('settings', () => {
  it('are sent back without the state, and with what a newer box adds', () => {
    const told = { ...camera, recording_stopped: 'the disk is full', weather: 'fair' } as Camera;
    const settings = settingsOf(told) as unknown as Record<string, unknown>;
    expect(Object.keys(settings).filter((key) => ['running', 'state', 'source_state', 'detector', 'session', 'recording_stopped'].includes(key))).toEqual([]);
    expect(settings.weather).toBe('fair');
    expect(settings.id).toBe('door');
  });
});

describe('names', () => {
  it('fall back to the id', () => {
    expect(nameOf({ id: 'door', name: '  ' })).toBe('door');
    expect(nameOf({ id: 'door', name: 'Puerta' })).toBe('Puerta');
  });

  it.each([
    ['Front door', [], 'front-door'],
    ['Jardín de atrás!', [], 'jardin-de-atras'],
    ['Front door', ['front-door'], 'front-door-2'],
    ['Front door', ['front-door', 'front-door-2'], 'front-door-3'],
    ['車', [], 'camera'],
    ['a'.repeat(60), [], 'a'.repeat(28)],
  ])('of %j beside %j become the id %s', (name, taken, id) => {
    expect(idFor(name, taken)).toBe(id);
    expect(id).toMatch(/^[a-z0-9-]{1,32}$/);
  });
});
