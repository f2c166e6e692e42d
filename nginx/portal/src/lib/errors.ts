import { ApiError } from './api';
import { bytes } from './format';
import { i18n, maybe, t } from './i18n/index.svelte';

/**
 * What to tell a person about a failure: our own words where the kind is known, because they
 * exist in both languages, else the detail that the box gave.
 */
export function explain(cause: unknown): string {
  if (!(cause instanceof ApiError)) return cause instanceof Error ? cause.message : String(cause);
  if (cause.status === 0) return t(cause.kind === 'interrupted' ? 'error.interrupted' : 'error.unreachable');
  // What the box says then is meant for programs.
  if (cause.status === 401 && cause.kind !== 'wrong-credentials') return t('login.expired');
  const { detail, title, missing_bytes } = cause.problem;
  if (cause.kind === 'disk-full' && missing_bytes) {
    return t('problem.disk-full.missing', { size: bytes(missing_bytes, i18n.language) });
  }
  return (
    maybe(`problem.${cause.kind}`, { seconds: cause.retryAfter ?? 60 }) ?? detail ?? title ?? t('error.unknown', { status: cause.status })
  );
}
