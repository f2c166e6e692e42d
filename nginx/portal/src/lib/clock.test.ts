import { expect, it } from 'vitest';
import { differs } from './clock';

const NOW = 1_800_000_000_000;

it.each([
  [NOW, false, false],
  [NOW - 59_000, false, false],
  [NOW - 61_000, false, true],
  [NOW + 86_400_000, false, true],
  [0, true, false],
])('a box at %d that a server keeps: %s, is offered the time: %s', (unix_ms, synchronised, offered) => {
  expect(differs({ unix_ms, synchronised }, NOW)).toBe(offered);
});
