// The status page: asks /api/status every two seconds and shows what it says. docs/http.md describes the documents.

import {axisDuration, bounds, byId, bytes, clock, count, duration, element, short} from './format.js';
import {HeatMap, STATES} from './heatmap.js';
import {Chart} from './charts.js';

const POLL_MS = 2000, PATIENCE_MS = 20000, DETAILS_AGE_MS = 4000, LISTED = 8;
const RANGES = [['run', 0], ['15 min', 900], ['2 h', 7200], ['24 h', 86400]];

let status = null;              // the last /api/status
let chosen = null;              // the feature set that is shown; the address names the one that is wished for
let history = new Map();        // feature set -> points
let details = {at: 0, sets: new Map(), loading: false};
let range = 'run', lastNews = 0, failures = 0;
const opened = new Set();       // lists that are shown whole

const current = () => status?.feature_sets.find(s => s.name === chosen) ?? null;
/** A lower bound as the heat map of its feature set writes it. */
function rangeName(set, from) {
  const m = status.heat_maps.find(h => h.feature_set === set), i = m ? m.from.indexOf(from) : -1;
  return i < 0 ? from : bounds(m.from)[i];
}
const currentMap = () => status?.heat_maps.find(m => m.feature_set === chosen) ?? null;

// -- talking to the daemon

async function ask(path) {
  const answer = await fetch(path, {cache: 'no-cache', signal: AbortSignal.timeout(PATIENCE_MS)});
  if (!answer.ok) throw new Error((await answer.text()).trim() || 'status ' + answer.status);
  return answer.json();
}

async function poll() {
  try {
    const next = await ask('/api/status');
    if (history.size === 0 || next.at_seconds - (status?.at_seconds ?? 0) > 10) await loadHistory();
    status = next;
    lastNews = Date.now();
    failures = 0;
    remember();
    render();
  } catch (error) {
    ++failures;
    showLive(error.name === 'TypeError' || error.name === 'TimeoutError' ? 'the daemon does not answer' : error.message);
  }
  if (!document.hidden) timer = setTimeout(poll, Math.min(POLL_MS * 2 ** failures, 15000));
}
let timer = setTimeout(poll, 0);
addEventListener('hashchange', () => { if (status) render(); });
document.addEventListener('visibilitychange', () => {
  clearTimeout(timer);
  if (!document.hidden) poll();
});

const pointOf = (at, s) => ({
  t: at, speed: s.rows_per_second.smoothed, now: s.rows_per_second.now, active: s.workers.active, configured: s.workers.configured || null,
  left: s.eta?.seconds ?? null, low: s.eta?.low_seconds ?? null, high: s.eta?.high_seconds ?? null,
});

async function loadHistory() {
  const {history: rows} = await ask('/api/history');
  history = new Map([['', []]]);
  for (const row of rows) {
    if (!history.has(row.feature_set)) history.set(row.feature_set, []);
    history.get(row.feature_set).push(pointOf(Date.parse(row.at) / 1000, row));
  }
}

/** The newest reading joins the history while there is work, and once when it ends. */
function remember() {
  for (const s of status.feature_sets) {
    const points = history.get(s.name) ?? [];
    history.set(s.name, points);
    const last = points.at(-1), busy = s.partitions.running > 0 || s.workers.active > 0;
    if ((busy || (last && last.active > 0 && status.at_seconds - last.t < 60)) && !(last && status.at_seconds - last.t < 1)) points.push(pointOf(status.at_seconds, s));
    if (points.length > 4000) points.splice(0, 1000);
  }
}

async function loadDetails() {
  if (details.loading || Date.now() - details.at < DETAILS_AGE_MS) return;
  details.loading = true;
  try {
    const document = await ask('/api/partitions');
    const sets = new Map();
    for (const s of document.feature_sets) {
      const series = new Map(s.series.map((name, i) => [name, i])), from = new Map(s.from.map((name, i) => [name, i]));
      const cells = new Map(s.partitions.map(p => [p[0] + ' ' + p[1], Object.fromEntries(document.fields.map((f, i) => [f, p[i]]))]));
      sets.set(s.feature_set, {find: (a, b) => cells.get(series.get(a) + ' ' + from.get(b))});
    }
    details = {at: Date.now(), sets, loading: false};
    map.show(currentMap());
    showKept();
  } catch {
    details.loading = false;
  }
}

// -- one partition, in words

function entries(cell) {
  const m = currentMap(), series = m.series[cell.r], from = m.from[cell.c], letter = m.states[cell.r][cell.c];
  const p = details.sets.get(chosen)?.find(series, from);
  const worker = status.workers.find(w => w.feature_set === chosen && w.series === series && w.from === from);
  const slow = status.slow_partitions.find(s => s.feature_set === chosen && s.series === series && s.from === from);
  const out = [['from', from], ['to', m.to[cell.c]]];
  if (letter === 'r' && worker) out.push(['worker', `${worker.daemon}/${worker.worker}, ${worker.step} for ${duration(worker.step_seconds)}`],
    ['rows', `${count(worker.rows.done)} of ${worker.rows.total ? count(worker.rows.total) : 'unknown'}`]);
  if (p && letter !== 'r') {
    if (p.rows_in != null) out.push([p.rows_in_estimated ? 'rows, estimated' : 'rows', count(p.rows_in)]);
    if (p.rows_out != null && 'Ds'.includes(letter)) out.push(['NULLs', count(p.nulls_out)]);
    if (p.seconds != null && 'DseF'.includes(letter)) out.push(['took', duration(p.seconds) + (p.rows_in && p.seconds > 0 && letter !== 'F' ? `, ${short(p.rows_in / p.seconds)} rows/s` : '')]);
    out.push(['since', clock(p.changed_at)]);
  }
  if (p?.attempts > 1 || (p?.attempts && letter === 'F')) out.push(['attempts', String(p.attempts)]);
  if (slow) out.push(['slow', `${slow.times_median.toFixed(1)} times the median, in ${slow.phase}`]);
  if (p?.message) out.push(['message', p.message]);
  return {series, from, to: m.to[cell.c], state: STATES[letter], entries: out};
}

const list = rows => element('dl', {}, ...rows.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]));
const swatch = state => element('span', {class: 'swatch ' + state.name, 'aria-hidden': 'true'}, state.letter);

function describe(cell) {
  loadDetails();
  const d = entries(cell);
  return [element('strong', {}, swatch(d.state), element('span', {}, `${d.series}: ${d.state.name === 'slow' ? 'done, but slow' : d.state.name}`)), list(d.entries)];
}

const quoted = text => "'" + text.replaceAll("'", "''") + "'";

function showKept() {
  const box = byId('kept'), cell = map.kept;
  box.hidden = !cell || !currentMap();
  if (box.hidden) return;
  loadDetails();
  const d = entries(cell), close = element('button', {type: 'button'}, 'close');
  close.addEventListener('click', () => { map.keepCell(null); byId('map').focus(); });
  const bounds = `${quoted(chosen)}, ${quoted(d.series)}, ${quoted(d.from)}, ${quoted(d.to)}`;
  const sql = `SELECT * FROM regfeat.requeue(${bounds}, 'why');`;
  box.replaceChildren(element('h3', {}, swatch(d.state), `${d.series}: ${d.state.name}`, close), list(d.entries),
    element('pre', {'aria-label': 'SQL that computes this partition again'}, sql));
}

const map = new HeatMap(byId('map'), byId('tip'), describe, () => showKept());

// -- charts

const charts = [
  [new Chart(byId('chart-speed'), {lines: [{class: 'main', value: p => p.speed}, {class: 'now', value: p => p.now}], format: short,
    describe: p => p ? `${clock(p.t)}: ${p.speed == null ? 'unknown' : short(p.speed) + ' rows/s'}` : ''})],
  [new Chart(byId('chart-eta'), {lines: [{class: 'main', value: p => p.left}], band: {low: p => p.low, high: p => p.high}, format: axisDuration, seconds: true,
    describe: p => p ? `${clock(p.t)}: ${p.left == null ? 'unknown' : duration(p.left) + (p.low != null && p.high != null ? ` (${duration(p.low)} to ${duration(p.high)})` : '')}` : ''})],
  [new Chart(byId('chart-workers'), {lines: [{class: 'main', value: p => p.active, step: true}, {class: 'second', value: p => p.configured, step: true}], format: count, whole: true,
    describe: p => p ? `${clock(p.t)}: ${p.active} of ${count(p.configured)}` : ''})],
].flat();

function showCharts() {
  const points = history.get(chosen) ?? [], now = status.at_seconds;
  let from = now - RANGES.find(r => r[0] === range)[1], to = now;
  if (range === 'run') {  // since work last began
    let first = points.length - 1;
    while (first > 0 && points[first].t - points[first - 1].t < 600) --first;
    from = points[first]?.t ?? now - 60;
    to = current()?.partitions.running > 0 ? now : points.at(-1)?.t ?? now;
    if (to - from < 20) from = to - 20;
  }
  for (const chart of charts) chart.show(points, from, to, now);
}

byId('range').append(...RANGES.map(([name]) => {
  const input = element('input', {type: 'radio', name: 'range', value: name, checked: name === range});
  input.addEventListener('change', () => { range = name; if (status) showCharts(); });
  return element('label', {}, input, element('span', {}, name === 'run' ? 'this run' : name));
}));

// -- the parts of the page

function table(id, columns, rows, none) {
  const box = byId(id);
  if (rows.length === 0) return box.replaceChildren(element('p', {class: 'quiet'}, none));
  const shown = opened.has(id) ? rows : rows.slice(0, LISTED);
  const cell = (name, kind, content) => element('td', {class: kind, 'data-name': name}, element('span', {}, ...[content].flat()));
  const t = element('table', {}, element('thead', {}, element('tr', {}, ...columns.map(([name, kind]) => element('th', {class: kind, scope: 'col'}, name)))),
    element('tbody', {}, ...shown.map(row => element('tr', {}, ...row.map((content, i) => cell(columns[i][0], columns[i][1], content))))));
  const parts = [t];
  if (rows.length > LISTED) {
    const more = element('button', {type: 'button', class: 'more', id: id + '-more'}, opened.has(id) ? 'show fewer' : `show all ${rows.length}`);
    more.addEventListener('click', () => {
      opened.has(id) ? opened.delete(id) : opened.add(id);
      render();
      byId(id + '-more')?.focus();
    });
    parts.push(more);
  }
  const focused = document.activeElement?.id;
  box.replaceChildren(...parts);
  if (focused === id + '-more') byId(focused)?.focus();
}

const tag = (text, kind = '') => element('span', {class: 'tag ' + kind}, text);

/** What the address asks for; it is typed by people, and may be no encoded text at all. */
function wishedSet() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return location.hash.slice(1);
  }
}

function showSets() {
  const nav = byId('sets');
  const wished = wishedSet();
  if (status.feature_sets.some(s => s.name === wished)) chosen = wished;
  if (!current()) chosen = (status.feature_sets.find(s => s.partitions.running > 0) ?? status.feature_sets[0])?.name ?? null;
  if (status.feature_sets.length < 2) return nav.replaceChildren();
  const focused = document.activeElement?.dataset?.set;
  nav.replaceChildren(...status.feature_sets.map(s => {
    const bad = s.partitions.failed > 0 || s.stalled;
    const b = element('button', {type: 'button', 'aria-current': String(s.name === chosen), 'data-set': s.name, class: bad ? 'bad' : ''}, s.name,
      element('span', {}, s.partitions.failed > 0 ? `${s.partitions.failed} failed` : s.percent + ' %'));
    b.addEventListener('click', () => {
      chosen = s.name;
      window.history.replaceState(null, '', '#' + encodeURIComponent(chosen));
      render();
    });
    return b;
  }));
  if (focused) nav.querySelector(`[data-set="${CSS.escape(focused)}"]`)?.focus();
}

function showNotices(s) {
  const notices = [];
  const note = (text, kind) => notices.push(element('p', {class: 'notice ' + kind}, text));
  if (!status.daemons.some(d => d.alive)) note('No daemon is alive: nothing is computed.', 'bad');
  if (s?.stalled) note('Stalled: ' + s.stalled, 'bad');
  if (s?.paused) note('Paused: ' + s.paused, '');
  if (s?.partitions.failed > 0) note(`${count(s.partitions.failed)} ${s.partitions.failed === 1 ? 'partition has' : 'partitions have'} failed for good. When the cause is mended: SELECT * FROM regfeat.requeue_failed(${quoted(s.name)});`, 'bad');
  if (s?.blocked > 0) note(`${count(s.blocked)} ${s.blocked === 1 ? 'partition is' : 'partitions are'} blocked; the first ${s.blocked_reason}`, '');
  if (status.feature_sets.length === 0) note('No feature set is registered: regfeatd apply SPEC.yaml', '');
  const box = byId('notices'), text = notices.map(n => n.className + n.textContent).join('\n');
  if (box.dataset.text === text) return;  // screen readers are told once
  box.dataset.text = text;
  box.replaceChildren(...notices);
}

function etaNodes(s) {
  const p = s.partitions;
  if (p.pending + p.running === 0) return [p.failed > 0 ? 'finished, with failures' : 'complete'];
  if (!s.eta && s.stalled) return ['time left: unknown while stalled'];
  if (!s.eta) return [s.workers.active > 0 ? 'time left: unknown yet' : 'waiting for a worker'];
  const e = s.eta, out = [`${duration(e.seconds)} left`];
  const band = e.low_seconds != null && e.high_seconds != null ? `${duration(e.low_seconds)} to ${duration(e.high_seconds)}, ` : '';
  out.push(element('small', {}, `${band}until ${clock(status.at_seconds + e.seconds)}`));
  return out;
}

function showSummary(s) {
  byId('summary-title').textContent = s ? s.name : 'Progress';
  byId('percent').textContent = s ? s.percent.toFixed(s.percent === 100 ? 0 : 1) + ' %' : '–';
  byId('eta').replaceChildren(...(s ? etaNodes(s) : []));
  document.title = s ? `${Math.floor(s.percent)} % ${s.name} – regfeatd` : 'regfeatd';
  const bar = byId('bar'), p = s?.partitions;
  bar.setAttribute('aria-valuenow', s ? s.percent : 0);
  if (bar.children.length === 0) bar.append(...['done', 'empty', 'running', 'failed', 'cancelled'].map(name => element('i', {class: name})));
  for (const part of bar.children) part.style.width = p?.total ? 100 * p[part.className] / p.total + '%' : '0';
  const figures = s ? [
    ['Partitions', [count(p.done + p.empty), element('small', {}, ` of ${count(p.total)}`)], 'partitions'],
    ['Source rows', [short(s.rows.done), element('small', {}, ` of ${short(s.rows.total)}`)], 'rows'],
    ['Rows per second', [short(s.rows_per_second.smoothed), element('small', {}, s.rows_per_second.now == null ? '' : `, now ${short(s.rows_per_second.now)}`)], 'speed'],
    ['Written', [bytes(s.bytes.done), element('small', {}, s.bytes.total ? ` of ${bytes(s.bytes.total)}` : '')], 'bytes'],
    ['Workers', [count(s.workers.active), element('small', {}, ` of ${count(s.workers.configured)}`)], 'workers'],
    ['Limited by', [s.limited_by ?? 'unknown'], 'limit'],
  ] : [];
  byId('figures').replaceChildren(...figures.map(([name, value, id]) => element('div', {}, element('dt', {}, name), element('dd', {id: 'figure-' + id}, ...value))));
}

function showTables() {
  const mine = rows => rows.filter(r => r.feature_set === chosen);
  const many = status.daemons.filter(d => d.alive).length > 1;
  table('workers', [['worker', 'tight'], ['step', 'tight'], ['partition', 'tight'], ['rows', '']], status.workers.map(w => [
    many ? `${w.daemon}/${w.worker}` : String(w.worker), [tag(w.step, w.step === 'idle' ? 'good' : ''), ' ' + duration(w.step_seconds)],
    w.series ? `${w.feature_set === chosen ? '' : w.feature_set + ' '}${w.series} ${rangeName(w.feature_set, w.from)}` : '–',
    w.series && w.rows.total ? [element('progress', {max: w.rows.total, value: w.rows.done, 'aria-label': 'rows'}), ` ${count(w.rows.done)} of ${count(w.rows.total)}`] : '–']), 'No worker is running.');
  table('failures', [['at (UTC)', 'tight'], ['partition', 'tight'], ['outcome', 'tight'], ['step', 'tight'], ['message', '']], mine(status.failures).map(f => [
    f.at ?? '–', `${f.series} ${rangeName(chosen, f.from)}`, tag(f.outcome, f.outcome === 'failed' ? 'bad' : 'warn'), f.step ?? '–', f.message ?? '–']), 'None.');
  table('slow', [['partition', 'tight'], ['took', 'tight'], ['times the median', 'tight'], ['slow phase', '']], mine(status.slow_partitions).map(r => [
    `${r.series} ${rangeName(chosen, r.from)}`, duration(r.seconds), r.times_median.toFixed(1), r.phase ?? '–']), 'None: no finished partition took more than twice the median seconds per row.');
  table('daemons', [['name', 'tight'], ['host', 'tight'], ['state', 'tight'], ['heartbeat', 'tight'], ['workers', 'tight'], ['build', 'tight'], ['message', '']], status.daemons.map(d => [
    `${d.name} (${d.id})`, d.host, tag(d.alive || d.state === 'stopped' ? d.state : d.state + ', not alive', d.alive ? 'good' : d.state === 'stopped' ? '' : 'bad'),
    d.alive ? `${duration(d.heartbeat_age_seconds)} ago` : '–', `${d.workers.active} of ${d.workers.configured}`, d.build, d.message ?? '–']), 'None in the last hour.');
}

function render() {
  showSets();
  const s = current();
  showNotices(s);
  showSummary(s);
  const m = currentMap();
  byId('partitions').hidden = !m;
  map.show(m);
  if (m) map.legend(byId('legend'));
  showKept();
  showCharts();
  showTables();
  const alive = status.daemons.filter(d => d.alive);
  byId('identity').textContent = `${alive.length === 1 ? alive[0].name : alive.length + ' daemons'} · ${status.build}`;
  document.body.dataset.at = status.at;
  showLive(null);
}

function showLive(error) {
  const live = byId('live'), age = lastNews ? (Date.now() - lastNews) / 1000 : null;
  const state = error || (age != null && age > 15) ? 'stale' : age == null ? 'waiting' : 'live';
  live.dataset.state = state;
  const text = state === 'live' ? 'live' : (error ?? 'no news') + (age == null ? '' : `; what is shown is ${duration(age)} old`);
  if (byId('live-text').textContent !== text) byId('live-text').textContent = text;
}
