import { afterEach, describe, expect, it, vi } from 'vitest';
import { authorityFingerprint, firstCertificate } from './authority';

const pem = (body: string) => `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----\n`;

afterEach(() => vi.unstubAllGlobals());

describe('the authority', () => {
  it('is the first certificate of the file', () => {
    expect(firstCertificate(pem('YWJj') + pem('eHl6'))).toEqual(new TextEncoder().encode('abc'));
  });

  it.each(['', 'a page', '-----BEGIN CERTIFICATE-----\nYWJj', pem('***')])('is not read from %j', (text) => {
    expect(firstCertificate(text)).toBeNull();
  });

  it('has the fingerprint that viewers show', async () => {
    vi.stubGlobal('fetch', async () => new Response(pem('YW\nJj')));
    // SHA-256 of "abc", from FIPS 180-2.
    const pairs = 'BA:78:16:BF:8F:01:CF:EA:41:41:40:DE:5D:AE:22:23:B0:03:61:A3:96:17:7A:9C:B4:10:FF:61:F2:00:15:AD';
    expect(await authorityFingerprint()).toBe(pairs);
  });

  it('has none where the box hands out nothing', async () => {
    vi.stubGlobal('fetch', async () => new Response('', { status: 404 }));
    expect(await authorityFingerprint()).toBe('');
  });
});
