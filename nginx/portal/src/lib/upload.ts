/**
 * A model file sent in pieces. What has arrived stays on the box: the same file goes on where it stopped,
 * after a cut, a pause or another day.
 */
import { ApiError, api, type Model, type Upload } from './api';

/** How often a piece that broke is sent again before the person is asked. */
const TRIES = 3;
const PAUSE_MS = 1500;

export interface Progress {
  received: number;
  size: number;
}

/** Sends a file and returns the model it became. Aborting leaves what has arrived. */
export async function send(file: File, signal: AbortSignal, told: (progress: Progress) => void): Promise<Model> {
  const upload = await begin(file);
  let received = upload.received_bytes;
  let tries = 0;
  while (received < file.size) {
    told({ received, size: file.size });
    const piece = file.slice(received, received + upload.chunk_bytes);
    try {
      received = await api.sendPiece(upload.upload, received, piece, signal);
      tries = 0;
    } catch (cause) {
      if (signal.aborted || !(cause instanceof ApiError)) throw cause;
      const elsewhere = cause.problem.received_bytes;
      if (cause.status === 409 && elsewhere !== undefined && elsewhere !== received) {
        received = elsewhere;
        continue;
      }
      tries += 1;
      if (tries >= TRIES || (cause.status >= 400 && cause.status < 500 && cause.status !== 409)) throw cause;
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      received = (await api.upload(upload.upload)).received_bytes;
    }
  }
  told({ received, size: file.size });
  return api.finishUpload(upload.upload);
}

/** A new upload, or the one of the same file that was begun before. */
async function begin(file: File): Promise<Upload> {
  try {
    return await api.beginUpload(file.name, file.size);
  } catch (cause) {
    const begun = cause instanceof ApiError ? cause.problem.upload : undefined;
    if (!begun) throw cause;
    const known = await api.upload(begun);
    if (known.size_bytes !== file.size) throw cause;
    return known;
  }
}
