import { describe, expect, it } from 'vitest';
import { blank, draftOf, faults, fieldOf, settings, type Draft } from './draft';

const sound = (change: Partial<Draft> = {}): Draft => ({
  ...blank('shapes'),
  name: 'Front door',
  places: { ...blank('').places, rtsp: 'rtsp://owner:***@10.0.0.2:554/live' },
  ...change,
});

describe('a form', () => {
  it('becomes the settings of a camera, with times in milliseconds', () => {
    const draft = sound({ numbers: { ...blank('').numbers, dwell_ms: '0,5', silence_ms: ' 12 ' } });
    expect(settings(draft, ['front-door'])).toEqual({
      id: 'front-door-2',
      name: 'Front door',
      source: { kind: 'rtsp', url: 'rtsp://owner:***@10.0.0.2:554/live' },
      model: 'shapes',
      threshold: 0.35,
      classes: [],
      masks: [],
      enabled: true,
      record: false,
      fps_idle: 5,
      fps_active: 12,
      dwell_ms: 500,
      silence_ms: 12_000,
      post_roll_ms: 3000,
      pre_roll_ms: 3000,
    });
  });

  it('keeps what it was given', () => {
    for (const source of [
      { kind: 'v4l2', device: '/dev/video2' },
      { kind: 'http', url: 'https://cam/a.jpg' },
      { kind: 'file', path: '/srv/a.mp4', repeat: false },
      { kind: 'folder', path: '/srv/pictures', repeat: true },
    ] as const) {
      const camera = { ...settings(sound(), []), source, id: 'yard', masks: [{ points: [[0, 0], [1, 0], [1, 1]] as [number, number][] }] };
      expect(settings(draftOf(camera), ['yard'])).toEqual(camera);
    }
  });

  it.each<[string, Partial<Draft>, string, string]>([
    ['no name', { name: ' ' }, 'name', 'empty'],
    ['no detector', { model: '' }, 'model', 'model'],
    ['an id with a space', { id: 'front door' }, 'id', 'id'],
    ['a bare scheme', { places: { ...blank('').places, rtsp: 'rtsp://' } }, 'source', 'address'],
    ['an address of another kind', { kind: 'http', places: { ...blank('').places, http: 'rtsp://cam' } }, 'source', 'address'],
    ['a path that is not whole', { kind: 'file', places: { ...blank('').places, file: 'a.mp4' } }, 'source', 'path'],
    ['a disk', { kind: 'v4l2', places: { ...blank('').places, v4l2: '/dev/sda' } }, 'source', 'device'],
    ['no rate', { numbers: { ...blank('').numbers, fps_idle: '' } }, 'fps_idle', 'range'],
    ['half a look a second', { numbers: { ...blank('').numbers, fps_active: '12.5' } }, 'fps_active', 'range'],
    ['more looks when calm', { numbers: { ...blank('').numbers, fps_idle: '20' } }, 'fps_idle', 'rates'],
    ['an hour of dwell', { numbers: { ...blank('').numbers, dwell_ms: '3600' } }, 'dwell_ms', 'range'],
  ])('with %s is not sent', (_, change, field, key) => {
    expect(faults(sound(change))).toMatchObject({ [field]: { key } });
  });

  it('without faults may be sent', () => {
    expect(faults(sound())).toEqual({});
    expect(faults(sound({ kind: 'http', places: { ...blank('').places, http: 'http://[fe80::1]/a' } }))).toEqual({});
  });
});

describe('a refusal', () => {
  it.each([
    ['source.url', 'source'],
    ['fps_idle', 'fps_idle'],
    [undefined, ''],
  ])('about %j belongs to the field %j', (param, field) => {
    expect(fieldOf(param)).toBe(field);
  });
});
