/** What a camera kept of a session, brought into a form that people read. */
import type { Detection } from './camera';
import { counts } from './events';

export interface ClassSeen {
  count: number;
  best: number;
}

/** A session as lists tell it. */
export interface Session {
  session: string;
  began: string;
  /** None while it goes on, or when the power failed within. */
  ended: string | null;
  reason: string | null;
  classes: Record<string, ClassSeen>;
  /** Name of the best picture, once there is one. */
  snapshot: string | null;
  clip: string | null;
}

export interface Frame {
  at: string;
  detections: Detection[];
}

/** All of a session. */
export interface SessionDetails extends Omit<Session, 'session'> {
  camera: string;
  frames: Frame[];
  frames_left_out: number;
  recording_stopped: string | null;
}

/** A time in which the same was seen. */
export interface Stretch {
  from: string;
  to: string;
  seen: [label: string, count: number][];
  frames: number;
}

/** A longer pause between two frames begins a new stretch. */
const PAUSE_MS = 2000;

/** The frames put together: one stretch as long as the same is seen. */
export function stretches(frames: Frame[]): Stretch[] {
  const found: Stretch[] = [];
  for (const { at, detections } of frames) {
    const seen = counts(detections);
    const last = found.at(-1);
    if (last && same(last.seen, seen) && Date.parse(at) - Date.parse(last.to) <= PAUSE_MS) {
      last.to = at;
      last.frames += 1;
    } else {
      found.push({ from: at, to: at, seen, frames: 1 });
    }
  }
  return found;
}

function same(left: Stretch['seen'], right: Stretch['seen']): boolean {
  return JSON.stringify(left) === JSON.stringify(right);
}

/** What is in the snapshot: the box keeps the first picture with the best score. */
export function inSnapshot(frames: Frame[]): Detection[] {
  let best: Frame | null = null;
  let score = 0;
  for (const frame of frames) {
    for (const detection of frame.detections) {
      if (detection.score > score) [best, score] = [frame, detection.score];
    }
  }
  return best?.detections ?? [];
}

/** Milliseconds from the beginning to the end, or until now for a session that goes on. */
export function lasted(session: Pick<Session, 'began' | 'ended'>, now: number): number {
  const until = session.ended === null ? now : Date.parse(session.ended);
  return Math.max(0, until - Date.parse(session.began));
}

/** Classes by how often they were seen. */
export function byCount(classes: Record<string, ClassSeen>): [label: string, seen: ClassSeen][] {
  return Object.entries(classes).sort(([one, a], [other, b]) => b.count - a.count || one.localeCompare(other));
}
