import { describe, expect, it } from 'vitest';
import { routeOf } from './router.svelte';

describe('the route', () => {
  it.each([
    ['/', 'ask'],
    ['/models/', 'models'],
    ['/cameras', 'cameras'],
    ['/cameras/', 'cameras'],
    ['/cameras/front-door/sessions/20261121-133000', 'cameras'],
    ['/new-camera', 'cameras'],
    ['/camerasx', 'missing'],
    ['/space', 'space'],
    ['/ca', 'missing'],
  ])('of %s is %s', (path, route) => {
    expect(routeOf(path)).toBe(route);
  });
});
