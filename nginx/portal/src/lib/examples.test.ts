import { describe, expect, it } from 'vitest';
import { curlExample, pythonExample } from './examples';

describe('the examples', () => {
  it('quote an apostrophe for the shell', () => {
    expect(curlExample('https://box', 'ab_1', "What's this?")).toContain(`-d '{"prompt":"What'\\''s this?"}'`);
  });

  it('quote quotation marks for Python', () => {
    expect(pythonExample('https://box', 'ab_1', 'Say "hi"')).toContain('"content": "Say \\"hi\\""');
  });

  it('name the box and the key', () => {
    for (const example of [curlExample, pythonExample]) {
      expect(example('https://box:8443', 'ab_1', 'x')).toMatch(/https:\/\/box:8443\/.*[^]*ab_1/);
    }
  });
});
