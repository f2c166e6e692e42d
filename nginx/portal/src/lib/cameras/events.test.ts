import { describe, expect, it } from 'vitest';
import type { Camera, Detection } from './camera';
import { FRESH_MS, counts, fold, fresh, inWords, look, type CameraEvent } from './events';

const camera = (id: string) =>
  ({ id, running: true, state: 'idle', source_state: { state: 'live' }, detector: { state: 'ready' }, session: null }) as Camera;
const circle: Detection = { label: 'circle', score: 0.9, x: 0.1, y: 0.1, width: 0.2, height: 0.2 };
const seen = (id: string): CameraEvent => ({ camera: id, detections: [circle] });

describe('events', () => {
  const both = [camera('door'), camera('yard')];
  const after = (kind: string, event: CameraEvent) => fold(both, kind, event)[0]!;

  it('of a keep-alive replace how the camera stands', () => {
    const told = after('ai.keepalive', {
      camera: 'door',
      state: 'active',
      source: { state: 'lost', reason: 'gone' },
      detector: { state: 'loading' },
      session: '20261121-133000',
    });
    expect(told).toMatchObject({ state: 'active', source_state: { state: 'lost', reason: 'gone' }, detector: { state: 'loading' }, session: '20261121-133000' });
  });

  it('of a session open and close it', () => {
    expect(after('ai.session_started', { camera: 'door', session: 's' })).toMatchObject({ session: 's', state: 'active' });
    expect(after('ai.session_ended', { camera: 'door', session: 's' })).toMatchObject({ session: null, state: 'idle' });
  });

  it('of a loss tell the part and the reason, and of its return that it is back', () => {
    expect(after('camera.lost', { camera: 'door', part: 'source', reason: 'no route' }).source_state).toEqual({ state: 'lost', reason: 'no route' });
    expect(after('camera.lost', { camera: 'door', part: 'detector', reason: 'killed' }).detector).toEqual({ state: 'lost', reason: 'killed' });
    expect(after('camera.back', { camera: 'door', part: 'detector' }).detector).toEqual({ state: 'ready' });
  });

  it('of a recording that stopped tell why, until a keep-alive says otherwise', () => {
    const stopped = fold(both, 'camera.recording_stopped', { camera: 'door', reason: 'the disk is full' });
    expect(stopped[0]!.recording_stopped).toBe('the disk is full');
    expect(fold(stopped, 'ai.keepalive', { camera: 'door' })[0]!.recording_stopped).toBeNull();
  });

  it('change only the camera they are about', () => {
    const [, yard] = fold(both, 'ai.session_started', { camera: 'door', session: 's' });
    expect(yard).toBe(both[1]);
  });

  it('of a detection say that there is a picture and a detector', () => {
    const begun = [{ ...both[0]!, source_state: { state: 'connecting' as const }, detector: { state: 'loading' as const } }];
    expect(fold(begun, 'ai.detection', seen('door'))[0]).toMatchObject({ source_state: { state: 'live' }, detector: { state: 'ready' } });
  });

  it('that change nothing here leave the list as it is', () => {
    expect(fold(both, 'ai.detection', seen('door'))).toBe(both);
    expect(fold(both, 'ai.keepalive', { camera: 'gate' })).toBe(both);
    expect(fold(both, 'camera.something_new', { camera: 'door' })).toBe(both);
  });
});

describe('what is seen', () => {
  it('is replaced by what is seen next, camera by camera', () => {
    const first = look({}, 'ai.detection', seen('door'), 0);
    const second = look(first, 'ai.detection', { camera: 'yard', detections: [] }, 100);
    expect(second).toEqual({ door: { detections: [circle], at: 0 }, yard: { detections: [], at: 100 } });
    expect(look(second, 'ai.keepalive', seen('door'), 200)).toBe(second);
  });

  it('vanishes when nothing has come for a while', () => {
    const sights = look({}, 'ai.detection', seen('door'), 1000);
    expect(fresh(sights, 1000 + FRESH_MS - 1)).toBe(sights);
    expect(fresh(sights, 1000 + FRESH_MS)).toEqual({});
  });

  it('is counted by class, the most frequent first', () => {
    expect(counts([{ label: 'star' }, { label: 'circle' }, { label: 'star' }, { label: 'arc' }])).toEqual([
      ['star', 2],
      ['arc', 1],
      ['circle', 1],
    ]);
    expect(inWords([['star', 2], ['arc', 1]])).toBe('star ×2, arc');
  });
});
