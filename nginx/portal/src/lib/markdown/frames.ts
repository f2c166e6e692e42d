/** Work in slices, so that no task keeps the page from answering, whoever asks for how much. */

/** Of one picture's 16 ms; what the browser then lays out and paints needs the rest. */
const SLICE_MS = 6;

/** Does a bounded part of its work and returns whether there is more. */
export type Job = () => boolean;

const waiting = new Set<Job>();
let asked = false;

/** Runs a job with the next pictures until it is done. A job that waits already waits once. */
export function inFrames(job: Job): void {
  waiting.add(job);
  ask();
}

export function cancel(job: Job): void {
  waiting.delete(job);
}

function ask(): void {
  if (asked || waiting.size === 0) return;
  asked = true;
  requestAnimationFrame(run);
}

function run(): void {
  asked = false;
  const until = performance.now() + SLICE_MS;
  for (const job of [...waiting]) {
    waiting.delete(job);
    // At the end of the line: jobs take turns.
    if (job()) waiting.add(job);
    if (performance.now() > until) break;
  }
  ask();
}
