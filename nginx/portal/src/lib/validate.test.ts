import { describe, expect, it } from 'vitest';
import { characters, codeFault, isHostname, shownCode, sshKeyFault, sshKeyLabel } from './validate';

const KEY = `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${'b'.repeat(43)} me@laptop`;

describe('the claim code', () => {
  it.each([
    ['k7qm2xpd', 'K7QM-2XPD'],
    ['K7QM 2XPD', 'K7QM-2XPD'],
    ['k7q', 'K7Q'],
    ['K7QM-', 'K7QM'],
    ['K7QM-2XPDZZ', 'K7QM-2XPD'],
  ])('typed as %s is shown as %s', (typed, shown) => {
    expect(shownCode(typed)).toBe(shown);
  });

  it.each([
    ['k7qm-2xpd', null],
    ['', { fault: 'empty' }],
    ['K7QM', { fault: 'length', length: 4 }],
    ['K7Q0-1XPD', { fault: 'letters', letters: '0, 1' }],
  ])('%s has the fault %j', (typed, fault) => {
    expect(codeFault(typed)).toEqual(fault);
  });
});

describe('the length of a password', () => {
  it('counts an emoji once', () => {
    expect(characters('🙂🙂')).toBe(2);
  });
});

describe('host names', () => {
  it.each([
    ['actionbooster', true],
    ['box-2', true],
    ['Box', false],
    ['-box', false],
    ['box-', false],
    ['a.b', false],
    ['', false],
    ['a'.repeat(64), false],
  ])('%s is allowed: %s', (name, allowed) => {
    expect(isHostname(name)).toBe(allowed);
  });
});

describe('public keys', () => {
  it.each([
    [KEY, null],
    [KEY.replace(' me@laptop', ''), null],
    ['-----BEGIN OPENSSH PRIVATE KEY-----', 'private'],
    ['hello', 'shape'],
    [`command="rm" ${KEY}`, 'shape'],
    [`${KEY}\n${KEY}`, 'shape'],
  ])('%s has the fault %s', (line, fault) => {
    expect(sshKeyFault(line)).toBe(fault);
  });

  it('are recognised by comment and tail', () => {
    expect(sshKeyLabel(KEY)).toEqual({ type: 'ssh-ed25519', tail: 'bbbbbbbb', comment: 'me@laptop' });
  });
});
