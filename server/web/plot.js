// Lines and stacked areas over the last minutes, as SVG. Colours come from the style sheet: classes s-NAME.
import { h, short, svg } from "./dom.js";

const kHeight = 156, kTop = 8, kBottom = 24, kLeft = 42, kRight = 6;

// A round step that gives two to four lines up to `top`.
function niceStep(top, whole) {
  const raw = top / 4, power = 10 ** Math.floor(Math.log10(raw));
  for (const m of [1, 2, 2.5, 5, 10]) {
    const step = m * power;
    if (step >= raw && (!whole || Number.isInteger(step))) return step;
  }
  return Math.ceil(raw);
}

export class Plot {
  // series: [{name, label, value(sample) -> number or null}]; options: {title, unit, stacked, top (fixed upper end), whole, span, format}
  constructor(series, options) {
    this.series = series;
    this.options = { span: 300, format: short, unit: "", ...options };
    this.samples = [];
    this.now = 0;
    this.values = series.map(() => h("b", {}, "-"));
    this.grid = svg("g", { class: "grid" });
    this.marks = svg("g", {});
    this.cursor = svg("line", { class: "cursor", y1: kTop, y2: kHeight - kBottom, visibility: "hidden" });
    this.svg = svg("svg", { height: kHeight, role: "img", "aria-label": `${options.title}, last five minutes` }, this.grid, this.marks, this.cursor);
    this.legend = h("div", { class: "legend" }, series.map((s, i) => h("span", { class: `s-${s.name}` }, h("i", {}), s.label, " ", this.values[i])));
    this.el = h("section", { class: "card" }, h("header", {}, h("h2", {}, options.title), this.legend), options.extra ?? null, this.svg);
    this.width = 0;
    this.el.classList.toggle("stacked", !!this.options.stacked);
    new ResizeObserver(([entry]) => {
      this.width = entry.contentRect.width;
      this.draw();
    }).observe(this.svg);
    this.svg.addEventListener("pointermove", (e) => this.point(e));
    this.svg.addEventListener("pointerleave", () => this.onPoint(null));
    this.onPoint = () => {};
  }

  // samples: [{t, ...}] by time; a null among them is a gap.
  set(samples, now) {
    this.samples = samples;
    this.now = now;
    this.draw();
  }

  x(t) {
    return this.width - kRight + ((this.width - kLeft - kRight) * (t - this.now)) / this.options.span;
  }
  point(e) {
    const inner = Math.max(1, this.width - kLeft - kRight);
    this.onPoint(this.now + ((e.offsetX - kLeft) / inner - 1) * this.options.span);
  }
  // Shows the values at time t; null: the last ones.
  pointAt(t) {
    const at = t === null ? this.samples.at(-1) : this.nearest(t);
    const shown = t !== null && at;
    this.cursor.setAttribute("visibility", shown ? "visible" : "hidden");
    if (shown) for (const side of ["x1", "x2"]) this.cursor.setAttribute(side, this.x(at.t));
    this.series.forEach((s, i) => {
      const v = at ? s.value(at) : null;
      this.values[i].textContent = v === null ? "-" : this.options.format(v) + this.options.unit;
    });
  }
  nearest(t) {
    let best = null;
    for (const s of this.samples) if (s && (!best || Math.abs(s.t - t) < Math.abs(best.t - t))) best = s;
    return best && Math.abs(best.t - t) < 8 ? best : null;
  }

  top() {
    if (this.options.top) return this.options.top(this.samples.findLast((s) => s));
    let top = 0;
    for (const s of this.samples) {
      if (!s) continue;
      const values = this.series.map((q) => q.value(s) ?? 0);
      top = Math.max(top, this.options.stacked ? values.reduce((a, b) => a + b, 0) : Math.max(...values));
    }
    return Math.max(top * 1.08, this.options.whole ? 4 : 1);
  }

  draw() {
    if (!this.width || !this.now) return;
    const top = this.top() || 1, height = kHeight - kTop - kBottom;
    const y = (v) => kTop + height * (1 - v / top), sharp = (v) => Math.round(y(v)) + 0.5;
    this.drawGrid(top, sharp);
    const areas = [], lines = [];  // the lowest line last, so that those above it that are nothing do not hide it
    const base = new Map();  // sample -> what is stacked below
    for (const s of this.series) {
      for (const run of this.runs(s)) {
        const upper = run.map((p) => [this.x(p.t), y((base.get(p) ?? 0) + s.value(p))]);
        const lower = run.map((p) => [this.x(p.t), y(base.get(p) ?? 0)]);
        const line = upper.map(([a, b]) => `${a.toFixed(1)} ${b.toFixed(1)}`).join("L");
        const back = lower.reverse().map(([a, b]) => `${a.toFixed(1)} ${b.toFixed(1)}`).join("L");
        areas.push(svg("path", { class: `area s-${s.name}`, d: `M${line}L${back}Z` }));
        lines.unshift(svg("path", { class: `line s-${s.name}`, d: `M${line}` }));
        const [cx, cy] = upper.at(-1);
        if (!this.options.stacked && run.at(-1) === this.samples.at(-1)) lines.push(svg("circle", { class: `dot s-${s.name}`, cx, cy, r: 3.2 }));
      }
      if (this.options.stacked) for (const p of this.samples) if (p) base.set(p, (base.get(p) ?? 0) + (s.value(p) ?? 0));
    }
    this.marks.replaceChildren(...areas, ...lines);
    if (this.cursor.getAttribute("visibility") === "hidden") this.pointAt(null);
  }
  // Stretches without a gap, in the window.
  runs(series) {
    const out = [];
    let run = null;
    for (const s of this.samples) {
      const inside = s && s.t >= this.now - this.options.span && series.value(s) !== null;
      if (!inside) run = null;
      else if (run) run.push(s);
      else out.push((run = [s]));
    }
    return out.filter((r) => r.length > 1);
  }
  // A short form: there is little room beside the plot.
  tick(v) {
    return this.options.unit ? this.options.format(v) + this.options.unit : short(v).replace(/(\.\d*?)0+(?=[kM])/, "$1").replace(/\.(?=[kM])/, "");
  }
  drawGrid(top, y) {
    const parts = [];
    const step = niceStep(top, this.options.whole);
    for (let v = 0; v <= top * 1.0001; v += step) {
      parts.push(svg("line", { x1: kLeft, x2: this.width - kRight, y1: y(v), y2: y(v), class: v === 0 ? "axis" : "" }));
      parts.push(svg("text", { x: kLeft - 8, y: y(v) + 3.5, "text-anchor": "end" }, this.tick(v)));
    }
    const minutes = this.options.span / 60;
    const every = this.width < 380 ? 2 : 1;
    for (let m = minutes % every; m <= minutes; m += every) {
      const anchor = m === 0 ? "start" : m === minutes ? "end" : "middle";
      parts.push(svg("text", { x: this.x(this.now + m * 60 - this.options.span), y: kHeight - 6, "text-anchor": anchor }, m === minutes ? "now" : `-${minutes - m} min`));
    }
    this.grid.replaceChildren(...parts);
  }
}
