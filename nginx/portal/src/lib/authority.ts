import { fingerprint } from './format';

/** The bytes of the first certificate in a PEM text; none if there is none. */
export function firstCertificate(pem: string): Uint8Array<ArrayBuffer> | null {
  const body = /-----BEGIN CERTIFICATE-----([^-]+)-----END CERTIFICATE-----/.exec(pem)?.[1];
  if (body === undefined) return null;
  try {
    return Uint8Array.from(atob(body.replace(/\s/g, '')), (digit) => digit.charCodeAt(0));
  } catch {
    return null;
  }
}

/** The fingerprint of the authority that this page's server hands out, as certificate viewers show it. */
export async function authorityFingerprint(): Promise<string> {
  const response = await fetch('/ca.crt');
  const certificate = response.ok ? firstCertificate(await response.text()) : null;
  if (certificate === null) return '';
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', certificate));
  return fingerprint(Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join(''));
}
