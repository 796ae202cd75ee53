// All partitions of a feature set on one canvas: a row for each series, a column for each range. Sets of one series, or of one
// range, or too wide for rows, flow over the lines like text. A canvas, because ten thousand elements would be slow.

import {bounds, byId, element} from './format.js';

export const STATES = {
  '.': {name: 'pending', letter: ''}, 'r': {name: 'running', letter: 'r'}, 'D': {name: 'done', letter: ''}, 's': {name: 'slow', letter: 's'},
  'e': {name: 'empty', letter: 'e'}, 'F': {name: 'failed', letter: 'F'}, 'c': {name: 'cancelled', letter: 'c'},
};
const LEGEND = ['D', 's', 'r', '.', 'F', 'e', 'c'];
const WIDEST = 8000;  // pixels of a canvas; browsers refuse much larger ones
const tallest = () => 32000 / Math.max(2, devicePixelRatio || 1);

export class HeatMap {
  /** describe(cell) gives the nodes of a tooltip; keep(cell or null) is told what the user wants to see below the map. */
  constructor(canvas, tip, describe, keep) {
    Object.assign(this, {canvas, tip, describe, keep, map: null, cursor: null, kept: null, cells: []});
    canvas.addEventListener('pointermove', e => this.point(e));
    canvas.addEventListener('pointerleave', () => { if (document.activeElement !== canvas) this.moveTo(null); else this.hideTip(); });
    canvas.addEventListener('click', e => { this.point(e); this.keepCell(this.cursor); });
    canvas.addEventListener('keydown', e => this.key(e));
    canvas.addEventListener('blur', () => this.moveTo(null));
    canvas.parentElement.addEventListener('scroll', () => this.scrolled());
    addEventListener('scroll', () => this.hideTip(), {passive: true});
    new ResizeObserver(() => this.draw()).observe(canvas.parentElement);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.draw());
  }

  show(map) {
    const same = this.map && map && this.map.feature_set === map.feature_set && this.map.states.join() === map.states.join() && this.map.series.length === map.series.length;
    const other = !this.map || !map || this.map.feature_set !== map.feature_set;
    this.map = map;
    if (other) this.cursor = this.kept = null;
    if (!same) this.draw();
    if (this.cursor && !this.tip.hidden) this.fillTip();
  }

  counts() {
    const counts = {};
    for (const row of this.map?.states ?? []) for (const s of row) counts[s] = (counts[s] ?? 0) + 1;
    return counts;
  }

  legend(list) {
    const counts = this.counts();
    list.replaceChildren(...LEGEND.map(s => element('li', {class: counts[s] ? '' : 'none', 'data-state': STATES[s].name},
      element('span', {class: 'swatch ' + STATES[s].name, 'aria-hidden': 'true'}, STATES[s].letter), s === 's' ? 'done, but slow ' : STATES[s].name + ' ',
      element('b', {}, String(counts[s] ?? 0)))));
  }

  // -- layout: where each cell is

  layout(width) {
    const {series, from, states} = this.map, rows = series.length, columns = from.length;
    this.cells = [];
    states.forEach((row, r) => { for (let c = 0; c < row.length; ++c) if (row[c] !== ' ') this.cells.push({r, c}); });
    if (rows > 1 && columns > 1 && columns * 4 + 60 <= WIDEST && rows * 2 + 20 <= tallest()) return this.matrix(width, rows, columns);
    return this.flow(width);
  }

  matrix(width, rows, columns) {
    const pen = this.canvas.getContext('2d');
    pen.font = '12px system-ui, sans-serif';
    const label = Math.min(Math.ceil(Math.max(...this.map.series.map(s => pen.measureText(s).width))) + 10, Math.max(60, width * .28));
    const w = Math.max(4, Math.min(30, Math.floor((width - label) / columns)));
    const least = Math.min(4, Math.floor((tallest() - 20) / rows));
    const h = rows <= 12 ? Math.max(18, Math.min(24, w)) : rows <= 40 ? Math.max(13, Math.min(18, w)) : Math.max(least, Math.min(w, Math.floor(560 / rows)));
    const top = 20;
    Object.assign(this, {label, w, h, top, width: label + w * columns, height: top + h * rows, perLine: 0});
    for (const cell of this.cells) Object.assign(cell, {x: label + cell.c * w, y: top + cell.r * h});
    this.at = (x, y) => {
      const c = Math.floor((x - label) / w), r = Math.floor((y - top) / h);
      return this.cells.find(cell => cell.r === r && cell.c === c) ?? null;
    };
  }

  flow(width) {
    const fitting = height => Math.floor(Math.sqrt(width * height / Math.max(1, this.cells.length)));
    const size = Math.max(1, Math.min(Math.max(5, Math.min(22, fitting(380))), fitting(.9 * tallest())));
    const perLine = Math.max(1, Math.floor(width / size));
    Object.assign(this, {label: 0, top: 0, w: size, h: size, perLine, width, height: size * Math.ceil(this.cells.length / perLine)});
    this.cells.forEach((cell, i) => Object.assign(cell, {x: i % perLine * size, y: Math.floor(i / perLine) * size}));
    this.at = (x, y) => x >= perLine * size ? null : this.cells[Math.floor(y / size) * perLine + Math.floor(x / size)] ?? null;
  }

  // -- drawing

  draw() {
    if (!this.map) return;
    const canvas = this.canvas, ratio = devicePixelRatio || 1;
    this.layout(Math.max(120, canvas.parentElement.clientWidth));
    canvas.width = Math.round(this.width * ratio);
    canvas.height = Math.round(Math.max(1, this.height) * ratio);
    canvas.style.width = this.width + 'px';
    canvas.style.height = Math.max(1, this.height) + 'px';
    Object.assign(canvas.dataset, {left: this.label, top: this.top, cellWidth: this.w, cellHeight: this.h, perLine: this.perLine});
    const pen = canvas.getContext('2d');
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    const style = getComputedStyle(document.documentElement), colour = name => style.getPropertyValue('--' + name).trim();
    if (this.label) this.drawLabels(pen, colour('quiet'));
    this.drawCells(pen, colour);
    if (this.cursor) this.cursor = this.cells.find(c => c.r === this.cursor.r && c.c === this.cursor.c) ?? null;
    for (const [cell, width] of [[this.kept, 2], [this.cursor, 2]]) {
      if (!cell) continue;
      const drawn = this.cells.find(c => c.r === cell.r && c.c === cell.c);
      if (!drawn) continue;
      pen.strokeStyle = colour('ink');
      pen.lineWidth = width;
      pen.strokeRect(drawn.x + .5, drawn.y + .5, this.w - 1, this.h - 1);
    }
    const counts = this.counts();
    canvas.setAttribute('aria-label', `${this.cells.length} partitions of ${this.map.feature_set}: ` +
      LEGEND.filter(s => counts[s]).map(s => `${counts[s]} ${STATES[s].name}`).join(', '));
  }

  drawCells(pen, colour) {
    const gap = this.w >= 8 && this.h >= 8 ? 2 : this.w >= 5 ? 1 : .5, radius = this.w >= 12 && this.h >= 12 ? 3 : 0;
    const byState = {};
    for (const cell of this.cells) (byState[this.map.states[cell.r][cell.c]] ??= []).push(cell);
    for (const [letter, cells] of Object.entries(byState)) {
      const state = STATES[letter];
      pen.fillStyle = colour(state.name);
      pen.beginPath();
      for (const {x, y} of cells) radius ? pen.roundRect(x, y, this.w - gap, this.h - gap, radius) : pen.rect(x, y, this.w - gap, this.h - gap);
      pen.fill();
      if (state.letter && this.w >= 11 && this.h >= 11) {
        pen.fillStyle = colour(letter === 's' ? 'on-slow' : letter === 'e' ? 'on-empty' : 'on-state');
        pen.font = `700 ${Math.min(12, this.h - 3)}px system-ui, sans-serif`;
        pen.textAlign = 'center';
        pen.textBaseline = 'middle';
        for (const {x, y} of cells) pen.fillText(state.letter, x + (this.w - gap) / 2, y + (this.h - gap) / 2 + .5);
      } else if (letter === 'F') {  // too small for a letter, and too important for a colour alone
        pen.strokeStyle = colour('ink');
        pen.lineWidth = 1;
        pen.beginPath();
        for (const {x, y} of cells) { pen.moveTo(x, y); pen.lineTo(x + this.w - gap, y + this.h - gap); }
        pen.stroke();
      }
    }
  }

  drawLabels(pen, colour) {
    pen.fillStyle = colour;
    pen.font = '12px system-ui, sans-serif';
    pen.textBaseline = 'middle';
    pen.textAlign = 'right';
    const every = Math.max(1, Math.ceil(13 / this.h));
    this.map.series.forEach((name, r) => { if (r % every === 0) pen.fillText(this.cut(pen, name), this.label - 8, this.top + r * this.h + Math.max(this.h, 12) / 2 - 1, this.label - 8); });
    pen.textAlign = 'left';
    const names = bounds(this.map.from), widest = Math.max(...names.map(n => pen.measureText(n).width)) + 14;
    const step = Math.max(1, Math.ceil(widest / this.w));
    for (let c = 0; c < names.length; c += step) {
      if (this.label + c * this.w + widest - 14 <= this.width) pen.fillText(names[c], this.label + c * this.w, 8);
    }
  }

  cut(pen, name) {
    if (pen.measureText(name).width <= this.label - 8) return name;
    let n = name.length;
    while (n > 1 && pen.measureText(name.slice(0, n) + '…').width > this.label - 8) --n;
    return name.slice(0, n) + '…';
  }

  // -- pointer and keys

  point(e) {
    const box = this.canvas.getBoundingClientRect();
    this.moveTo(this.at(e.clientX - box.left, e.clientY - box.top));
  }

  moveTo(cell, announce = false) {
    if (cell === this.cursor && !(cell && this.tip.hidden)) return;
    this.cursor = cell;
    this.draw();
    if (!cell) return this.hideTip();
    this.fillTip();
    if (announce) byId('map-live').textContent = this.tip.innerText;
  }

  fillTip() {
    this.tip.replaceChildren(...this.describe(this.cursor));
    this.tip.hidden = false;
    const box = this.canvas.getBoundingClientRect(), x = box.left + this.cursor.x, y = box.top + this.cursor.y;
    const {offsetWidth: width, offsetHeight: height} = this.tip;
    const below = y + this.h + 8 + height < innerHeight;
    this.tip.style.left = Math.max(8, Math.min(x, innerWidth - width - 8)) + 'px';
    this.tip.style.top = Math.max(8, below ? y + this.h + 8 : y - height - 8) + 'px';
  }

  hideTip() { this.tip.hidden = true; }

  /** The frame was scrolled: by a key, which the tooltip follows, or by hand. */
  scrolled() {
    if (this.followed && this.cursor) this.fillTip(); else this.hideTip();
    this.followed = false;
  }

  keepCell(cell) {
    this.kept = cell;
    this.keep(cell);
    this.draw();
  }

  key(e) {
    const line = this.perLine || this.map.from.length, page = 10;
    const steps = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -line, ArrowDown: line, PageUp: -page * line, PageDown: page * line};
    if (e.key === 'Enter' || e.key === ' ') this.keepCell(this.cursor);
    else if (e.key === 'Escape') this.kept ? this.keepCell(null) : this.moveTo(null);
    else if (e.key === 'Home') this.reveal(this.cells[0]);
    else if (e.key === 'End') this.reveal(this.cells.at(-1));
    else if (e.key in steps) this.reveal(this.step(steps[e.key]));
    else return;
    e.preventDefault();
  }

  step(by) {
    if (!this.cursor) return this.cells[0];
    const index = this.cells.indexOf(this.cursor);
    if (this.perLine || Math.abs(by) === 1) return this.cells[index + by] ?? this.cursor;
    const rows = this.map.series.length, r = Math.max(0, Math.min(rows - 1, this.cursor.r + Math.round(by / this.map.from.length)));
    // The nearest cell of that row: a series may lack a range.
    return this.cells.filter(c => c.r === r).sort((a, b) => Math.abs(a.c - this.cursor.c) - Math.abs(b.c - this.cursor.c))[0] ?? this.cursor;
  }

  reveal(cell) {
    if (!cell) return;
    const frame = this.canvas.parentElement;
    const {scrollLeft, scrollTop} = frame;
    if (cell.x < scrollLeft + this.label) frame.scrollLeft = cell.x - this.label;
    if (cell.x + this.w > scrollLeft + frame.clientWidth) frame.scrollLeft = cell.x + this.w - frame.clientWidth;
    if (cell.y < scrollTop + this.top) frame.scrollTop = cell.y - this.top;
    if (cell.y + this.h > scrollTop + frame.clientHeight) frame.scrollTop = cell.y + this.h - frame.clientHeight;
    this.followed = frame.scrollLeft !== scrollLeft || frame.scrollTop !== scrollTop;
    const y = frame.getBoundingClientRect().top + cell.y - frame.scrollTop;
    if (y < 0 || y + this.h > innerHeight) scrollBy(0, y - innerHeight / 2);
    this.moveTo(cell, true);
  }
}
