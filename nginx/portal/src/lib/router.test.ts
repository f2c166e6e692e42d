import { describe, expect, it } from 'vitest';
import { itemOf, routeOf } from './router.svelte';

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

describe('what a path shows', () => {
  it.each([
    ['/chat/1b4e28ba', 'chat', '1b4e28ba'],
    ['/ask/1b4e28ba', 'ask', '1b4e28ba'],
    ['/chat', 'chat', ''],
    ['/chat/', 'chat', ''],
    ['/', 'ask', ''],
    ['/asking', 'missing', ''],
  ])('%s is of %s: %j', (path, route, item) => {
    expect([routeOf(path), itemOf(path)]).toEqual([route, item]);
  });
});
