const KIB = 1024;

/** Bytes as a person reads them, in binary units: `7.6 GiB`. */
export function bytes(value: number, language: string): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let amount = value;
  while (amount >= KIB && unit < units.length - 1) {
    amount /= KIB;
    unit += 1;
  }
  return `${number(amount, language, amount >= 100 || unit === 0 ? 0 : 1)} ${units[unit]}`;
}

/** Disk sizes as they are sold, in decimal units: `512 GB`. */
export function diskSize(value: number, language: string): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  let amount = value;
  while (amount >= 1000 && unit < units.length - 1) {
    amount /= 1000;
    unit += 1;
  }
  return `${number(amount, language, amount >= 100 ? 0 : 1)} ${units[unit]}`;
}

export function number(value: number, language: string, digits = 0): string {
  return new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);
}

/** A moment as a date and time; an RFC 3339 text, or seconds since 1970. Unreadable text stays. */
export function moment(value: string | number, language: string, withTime = true): string {
  const date = new Date(typeof value === 'number' ? value * 1000 : value);
  if (Number.isNaN(date.getTime())) return String(value);
  return new Intl.DateTimeFormat(language, {
    dateStyle: 'medium',
    ...(withTime ? { timeStyle: 'short' } : {}),
  }).format(date);
}

/** A hash as pairs of digits with colons, as certificate viewers show it. */
export function fingerprint(hash: string): string {
  const digits = hash.replace(/[^0-9a-f]/gi, '').toUpperCase();
  return digits.match(/../g)?.join(':') ?? hash;
}

/** Language codes as names in the reader's own language: `English and Spanish`. */
export function languageNames(codes: string[], language: string): string {
  const names = new Intl.DisplayNames(language, { type: 'language', fallback: 'code' });
  return new Intl.ListFormat(language).format(codes.map((code) => nameOf(names, code)));
}

function nameOf(names: Intl.DisplayNames, code: string): string {
  try {
    return names.of(code) ?? code;
  } catch {
    return code;
  }
}

/** The time of day of an RFC 3339 text, to the second, with the date where it is wanted. */
export function clock(value: string, language: string, withDate = false): string {
  const date = new Date(value);
  if (Number.isNaN(date.getTime())) return value;
  return new Intl.DateTimeFormat(language, {
    timeStyle: 'medium',
    ...(withDate ? { dateStyle: 'medium' } : {}),
  }).format(date);
}

/** How long something lasted, as people say it: `2 min 5 s`. */
export function duration(milliseconds: number, language: string): string {
  const seconds = Math.round(milliseconds / 1000);
  const parts: [number, string][] = [
    [Math.floor(seconds / 3600), 'hour'],
    [Math.floor(seconds / 60) % 60, 'minute'],
    [seconds % 60, 'second'],
  ];
  const said = parts.filter(([amount], index) => amount > 0 || (index === 2 && seconds === 0));
  return said
    .map(([amount, unit]) => new Intl.NumberFormat(language, { style: 'unit', unit, unitDisplay: 'short' }).format(amount))
    .join(' ');
}
