// Line charts as SVG, drawn anew with every reading: a few hundred points each.

import {clock} from './format.js';

const NS = 'http://www.w3.org/2000/svg';
const LEFT = 52, RIGHT = 8, TOP = 8, BOTTOM = 22;

/** Seconds between the points of the history that are as old as this (docs/http.md). */
const stepOf = age => age < 900 ? 3 : age < 7200 ? 30 : 300;
const LATE_S = 12;  // reports that come late are no silence, nor are readings of the page, which may be 8 s apart

/** Says of two neighbours whether nothing was reported between them: apart by more than the history's own step, and than what is
 *  usual between these points, whatever `progress` is set to. */
export function silences(points, now) {
  const excess = points.slice(1).map((p, i) => Math.max(0, p.t - points[i].t - stepOf(now - points[i].t))).sort((a, b) => a - b);
  const usual = excess.length ? excess[excess.length >> 1] : 0;
  return (before, after) => after.t - before.t > 1.5 * stepOf(now - before.t) + LATE_S + 3 * usual;
}

function node(name, attributes, text) {
  const e = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  if (text != null) e.textContent = text;
  return e;
}

/** Round numbers from 0 to at least `top`, about four of them; `base` 60 for durations. */
export function ticks(top, seconds = false) {
  const steps = seconds ? [.1, .2, .5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800, 2592000] : null;
  let step;
  if (steps) step = steps.find(s => top / s <= 4.5) ?? top / 4;
  else {
    const power = 10 ** Math.floor(Math.log10(top / 4));
    step = [1, 2, 2.5, 5, 10].map(f => f * power).find(s => top / s <= 4.5);
  }
  const out = [];
  for (let v = 0; v < top + step * .999; v += step) out.push(v);
  return out;
}

const timeSteps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

export class Chart {
  /** lines: {class, value(point), step}, from the one in front; band: {low(point), high(point)} */
  constructor(box, {lines, band, format, seconds = false, whole = false, describe}) {
    Object.assign(this, {box, lines, band, format, seconds, whole, describe, points: [], at: null});
    box.addEventListener('pointermove', e => this.pick((e.clientX - box.getBoundingClientRect().left - LEFT) / this.inner));
    box.addEventListener('pointerleave', () => { if (document.activeElement !== box) this.mark(null); });
    box.addEventListener('blur', () => this.mark(null));
    box.addEventListener('keydown', e => {
      const by = {ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity}[e.key];
      if (by === undefined || this.points.length === 0) return;
      e.preventDefault();
      this.mark(Math.max(0, Math.min(this.points.length - 1, (this.at ?? this.points.length) + by)));
    });
    new ResizeObserver(() => this.draw()).observe(box);
  }

  show(points, from, to, now) {
    const seen = this.at == null ? null : this.points[this.at]?.t;
    Object.assign(this, {silent: silences(points, now), points: points.filter(p => p.t >= from && p.t <= to), from, to: Math.max(to, from + 1)});
    this.at = seen == null ? null : this.points.findIndex(p => p.t === seen);
    if (this.at === -1) this.at = null;
    this.draw();
  }

  pick(part) {
    if (this.points.length === 0) return;
    const t = this.from + part * (this.to - this.from);
    let best = 0;
    this.points.forEach((p, i) => { if (Math.abs(p.t - t) < Math.abs(this.points[best].t - t)) best = i; });
    this.mark(best);
  }

  mark(index) { if (index !== this.at) { this.at = index; this.draw(); } }

  x(t) { return LEFT + (t - this.from) / (this.to - this.from) * this.inner; }
  y(v) { return TOP + (1 - v / this.top) * (this.height - TOP - BOTTOM); }

  draw() {
    const width = this.box.clientWidth;
    this.height = this.box.clientHeight;
    this.inner = Math.max(10, width - LEFT - RIGHT);
    const svg = node('svg', {viewBox: `0 0 ${width} ${this.height}`, 'aria-hidden': 'true'});
    const values = this.points.flatMap(p => [...this.lines.map(l => l.value(p)), this.band?.high(p)]).filter(v => v != null);
    if (values.length === 0) {
      svg.append(node('text', {x: width / 2, y: this.height / 2, 'text-anchor': 'middle', class: 'nothing'}, 'nothing in this range'));
      this.box.replaceChildren(svg);
      this.box.setAttribute('aria-label', 'nothing in this range');
      return;
    }
    const highest = Math.max(...values);
    const marks = ticks(highest > 0 ? highest : 1, this.seconds).filter(v => !this.whole || Number.isInteger(v));
    this.top = marks.at(-1);
    this.drawAxes(svg, marks, width);
    for (const run of this.runs()) this.drawRun(svg, run);
    this.drawMark(svg, width);
    this.box.replaceChildren(svg);
    this.box.setAttribute('aria-label', this.describe(this.points[this.at ?? this.points.length - 1]));
  }

  drawAxes(svg, marks, width) {
    for (const v of marks) {
      svg.append(node('path', {class: 'grid', d: `M${LEFT} ${this.y(v)}H${width - RIGHT}`}));
      svg.append(node('text', {x: LEFT - 7, y: this.y(v) + 4, 'text-anchor': 'end'}, this.format(v)));
    }
    const span = this.to - this.from, fits = Math.max(2, Math.floor(this.inner / 82));
    const step = timeSteps.find(s => span / s <= fits) ?? 86400;
    const zone = new Date(this.from * 1000).getTimezoneOffset() * 60;
    for (let t = Math.ceil((this.from - zone) / step) * step + zone; t <= this.to; t += step) {
      const x = this.x(t);
      if (x < LEFT + 14 || x > width - 24) continue;
      svg.append(node('text', {x, y: this.height - 5, 'text-anchor': 'middle'}, clock(t, this.to, step < 60).slice(step >= 60 ? -5 : -8)));
    }
  }

  /** The points between silences. */
  runs() {
    const runs = [];
    let last = null;
    for (const p of this.points) {
      if (last == null || this.silent(last, p)) runs.push([]);
      runs.at(-1).push(p);
      last = p;
    }
    return runs;
  }

  path(points, value, step) {
    let d = '', before = null;
    for (const p of points) {
      const v = value(p);
      if (v == null) { before = null; continue; }
      d += before == null ? `M${this.x(p.t).toFixed(1)} ${this.y(v).toFixed(1)}` : step ? `H${this.x(p.t).toFixed(1)}V${this.y(v).toFixed(1)}` : `L${this.x(p.t).toFixed(1)} ${this.y(v).toFixed(1)}`;
      before = v;
    }
    return d;
  }

  drawRun(svg, run) {
    if (this.band) {
      const known = run.filter(p => this.band.low(p) != null && this.band.high(p) != null);
      if (known.length > 1) {
        const there = this.path(known, this.band.high), back = this.path([...known].reverse(), this.band.low).replace('M', 'L');
        svg.append(node('path', {class: 'under', d: there + back + 'Z'}));
      }
    }
    for (const line of [...this.lines].reverse()) {
      const d = this.path(run, line.value, line.step);
      if (d) svg.append(node('path', {class: line.class, d: run.length === 1 ? d + 'h2' : d}));
    }
  }

  drawMark(svg, width) {
    if (this.at == null) return;
    const p = this.points[this.at], x = this.x(p.t), value = this.lines[0].value(p);
    svg.append(node('path', {class: 'cross', d: `M${x} ${TOP}V${this.height - BOTTOM}`}));
    if (value != null) svg.append(node('circle', {class: 'mark', cx: x, cy: this.y(value), r: 4}));
    this.tip = this.describe(p);
    const right = x < width / 2;
    const text = node('text', {x: right ? x + 8 : x - 8, y: TOP + 10, 'text-anchor': right ? 'start' : 'end', class: 'reading'}, this.tip);
    svg.append(text);
  }
}
