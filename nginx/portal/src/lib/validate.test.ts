import { describe, expect, it } from 'vitest';
import cases from '../../../../crates/settings/tests/cases.json';
import { bareKey, sshKeyFault, sshKeyLabel } from './ssh-key';
import { bareCode, characters, codeFault, hostname, ownerName, passwordFault, shownCode } from './validate';

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

describe('the rules that the box has too', () => {
  const describeRule = (rule: keyof typeof cases, accept: (typed: string) => unknown) => {
    it.each(cases[rule].good.map((good) => [good].flat()))(`${rule}: %j is good`, (typed, kept) => {
      expect(accept(typed!)).toBe(kept ?? typed);
    });
    it.each(cases[rule].bad.map((bad) => [bad].flat()))(`${rule}: %j is bad`, (typed, fault) => {
      expect(accept(typed!)).toBe(rule === 'ssh_key' ? `fault ${fault}` : null);
    });
  };

  describeRule('hostname', hostname);
  describeRule('owner_name', ownerName);
  describeRule('password', (typed) => (passwordFault(typed) ? null : typed));
  describeRule('claim_code', (typed) => (codeFault(typed) ? null : bareCode(typed)));
  describeRule('ssh_key', (typed) => {
    const fault = sshKeyFault(typed);
    return fault ? `fault ${fault}` : bareKey(typed);
  });
});

describe('public keys', () => {
  it('are recognised by comment and tail', () => {
    const key = `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI${'b'.repeat(43)} me@laptop`;
    expect(sshKeyLabel(key)).toEqual({ type: 'ssh-ed25519', tail: 'bbbbbbbb', comment: 'me@laptop' });
  });
});
