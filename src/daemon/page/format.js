// Numbers, durations and elements. Everything that reaches the page goes through textContent: names and messages are data.

const grouped = new Intl.NumberFormat('en', {maximumFractionDigits: 0});

export const count = n => n == null ? 'unknown' : grouped.format(n);

export function short(n) {
  if (n == null) return 'unknown';
  const size = Math.abs(n);
  if (size >= 1e9) return trim(n / 1e9) + ' G';
  if (size >= 1e6) return trim(n / 1e6) + ' M';
  if (size >= 1e4) return trim(n / 1e3) + ' k';
  return size >= 100 || Number.isInteger(n) ? grouped.format(n) : trim(n);
}

const trim = n => String(Number(n.toPrecision(3)));

export function bytes(n) {
  if (n == null) return 'unknown';
  for (const unit of ['B', 'kB', 'MB', 'GB', 'TB']) {
    if (n < 1000 || unit === 'TB') return trim(n) + ' ' + unit;
    n /= 1000;
  }
}

export function duration(s) {
  if (s == null) return 'unknown';
  s = Math.max(0, s);
  if (s < 1) return Math.round(s * 1000) + ' ms';
  if (s < 10) return (Math.round(s * 10) / 10) + ' s';
  if (s < 60) return Math.round(s) + ' s';
  s = Math.round(s);
  if (s < 3600) return Math.floor(s / 60) + ' min ' + String(s % 60).padStart(2, '0') + ' s';
  const minutes = Math.round(s / 60);
  if (minutes < 1440) return Math.floor(minutes / 60) + ' h ' + String(minutes % 60).padStart(2, '0') + ' min';
  return Math.floor(minutes / 1440) + ' d ' + Math.floor(minutes % 1440 / 60) + ' h';
}

/** The same in a few letters, for an axis of round values. */
export function axisDuration(s) {
  if (s === 0) return '0';
  for (const [unit, size] of [['d', 86400], ['h', 3600], ['min', 60]]) {
    if (s >= size && Number.isInteger(s / size * 2)) return s / size + ' ' + unit;
  }
  return s + ' s';
}

const pad = n => String(n).padStart(2, '0');

/** A point in time (seconds since 1970) on the browser's clock; the day when it is not today's. */
export function clock(s, now = Date.now() / 1000, seconds = true) {
  const t = new Date(s * 1000), today = new Date(now * 1000);
  const time = pad(t.getHours()) + ':' + pad(t.getMinutes()) + (seconds ? ':' + pad(t.getSeconds()) : '');
  return t.toDateString() === today.toDateString() ? time : t.getFullYear() + '-' + pad(t.getMonth() + 1) + '-' + pad(t.getDate()) + ' ' + time;
}

/** Bounds as the database writes them, without what all of them have in common at their ends: midnight, the first of a month. */
export function bounds(all) {
  const without = (list, end) => list.every(t => t.endsWith(end)) ? list.map(t => t.slice(0, -end.length)) : list;
  const days = without(all, ' 00:00:00+00');
  if (days === all) return without(all, ':00+00');
  return without(days, '-01');
}

export function element(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) e.setAttribute(key, '');
    else if (value !== false && value != null) e.setAttribute(key, value);
  }
  e.append(...children.filter(c => c != null));
  return e;
}

export const byId = id => document.getElementById(id);
