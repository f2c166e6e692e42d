import { describe, expect, it } from 'vitest';
import { events, SseParser } from './sse';

function parse(...chunks: string[]) {
  const parser = new SseParser();
  return chunks.flatMap((chunk) => parser.push(chunk));
}

describe('the event-stream parser', () => {
  const cases: [name: string, chunks: string[], expected: [string, string][]][] = [
    ['reads a named event', ['event: token\ndata: {"text":"a"}\n\n'], [['token', '{"text":"a"}']]],
    ['calls an unnamed event a message', ['data: x\n\n'], [['message', 'x']]],
    ['joins several data lines with a line feed', ['data: a\ndata: b\n\n'], [['message', 'a\nb']]],
    ['skips keep-alive comments', [': keep-alive\n\n', 'data: x\n\n'], [['message', 'x']]],
    ['accepts CRLF line endings', ['event: a\r\ndata: 1\r\n\r\n'], [['a', '1']]],
    ['accepts a CRLF cut in the middle', ['data: 1\r', '\n\r', '\ndata: 2\n\n'], [['message', '1'], ['message', '2']]],
    ['accepts lone CR line endings', ['data: 1\r\rdata: 2\r\r', ''], [['message', '1']]],
    ['keeps spaces after the first one', ['data:   x\n\n'], [['message', '  x']]],
    ['reads a field without a space', ['data:x\n\n'], [['message', 'x']]],
    ['drops an event without data', ['event: ping\n\n'], []],
    ['does not carry the name over to the next event', ['event: a\n\ndata: x\n\n'], [['message', 'x']]],
    ['waits for the empty line', ['event: a\ndata: x\n'], []],
    ['drops a byte order mark', ['\uFEFFdata: x\n\n'], [['message', 'x']]],
    ['gives empty data as an empty string', ['data\n\n'], [['message', '']]],
  ];
  it.each(cases)('%s', (_name, chunks, expected) => {
    expect(parse(...chunks).map(({ event, data }) => [event, data])).toEqual(expected);
  });

  it('gives the same events however the text is cut', () => {
    const text = 'event: token\r\ndata: {"text":"¿qué?"}\r\n\r\n: x\n\nevent: done\ndata: {}\n\n';
    const whole = parse(text);
    expect(whole).toHaveLength(2);
    for (let cut = 1; cut < text.length; cut += 1) {
      expect(parse(text.slice(0, cut), text.slice(cut))).toEqual(whole);
    }
    expect(parse(...text)).toEqual(whole);
  });

  it('reads a body whose characters are cut between pieces', async () => {
    const bytes = new TextEncoder().encode('data: año\n\n');
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
        controller.close();
      },
    });
    const read = [];
    for await (const event of events(body)) read.push(event);
    expect(read).toEqual([{ event: 'message', data: 'año' }]);
  });
});
