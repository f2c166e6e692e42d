import type { Clock } from './api';

/** A smaller difference is the way of the answer, or nothing to bother an owner with. */
const TOLERANCE_MS = 60_000;

/** Whether the box's clock should be set from this device, whose own showed `now` when the box answered. */
export function differs(clock: Pick<Clock, 'unix_ms' | 'synchronised'>, now: number): boolean {
  return !clock.synchronised && Math.abs(clock.unix_ms - now) > TOLERANCE_MS;
}
