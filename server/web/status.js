// The engine's state, each second: figures, and plots over the last five minutes.
import { h, integer, seconds, short } from "./dom.js";
import { Plot } from "./plot.js";

const kSpan = 300;       // seconds shown
const kHitWindow = 10;   // seconds over which a hit rate is taken: single requests would make it jump

// Differences of counters between two answers of /status.json, as rates. Null if the server was restarted between them.
function sampleOf(before, now, t) {
  const dt = now.time_s - before.time_s;
  if (dt <= 0) return null;
  const rate = (part, name) => (now[part][name] - before[part][name]) / dt;
  const sample = {
    t,
    generated: rate("tokens", "generated"), computed: rate("tokens", "prompt_computed"), cached: rate("tokens", "prompt_cached"),
    busy: Math.min(1, rate("engine", "busy_s")), steps: rate("engine", "steps"),
    running: now.requests.running, waiting: now.requests.waiting,
    slots: now.state_slots, pages: now.kv_pages,
    query_tokens: now.prefix_cache.query_tokens, hit_tokens: now.prefix_cache.hit_tokens, hit_rate: null,
  };
  return rate("tokens", "generated") < 0 ? null : sample;
}

const percent = (v) => `${v > 0 && v < 0.0995 ? (v * 100).toFixed(1) : Math.round(v * 100)}`;

// A bar of what a pool's parts are now.
class PoolBar {
  constructor(parts) {
    this.parts = parts.map((name) => h("i", { class: `s-${name}` }));
    this.el = h("div", { class: "pool", "aria-hidden": "true" }, this.parts);
  }
  set(values) {
    const total = values.reduce((a, b) => a + b, 0) || 1;
    values.forEach((v, i) => (this.parts[i].style.flexGrow = String(v / total)));
  }
}

export class StatusView {
  constructor(root) {
    this.root = root;
    this.samples = [];     // with nulls for gaps
    this.last = null;      // the last answer
    this.shown = false;
    this.lost = null;      // the error since which there was no answer
    this.listeners = [];
    this.build();
  }

  onSample(f) {
    this.listeners.push(f);
  }
  // Polls each second while the view is shown; else every five, so that there is something to show when it is opened.
  start(get) {
    this.get = get;
    const poll = async () => {
      if (!document.hidden || this.shown) await this.poll();
      this.timer = setTimeout(poll, this.shown ? 1000 : 5000);
    };
    this.wake = () => (clearTimeout(this.timer), poll());
    document.addEventListener("visibilitychange", () => !document.hidden && this.wake());
    poll();
  }
  show(shown) {
    const opened = shown && !this.shown;
    this.shown = shown;
    if (opened) this.draw(), this.wake?.();
  }

  async poll() {
    if (this.polling) return;
    this.polling = true;
    try {
      const answer = await this.get();
      this.take(answer);
      this.lost = null;
    } catch (error) {
      if (!this.lost) this.samples.push(null);
      this.lost = error;
      this.last = null;
    }
    this.polling = false;
    for (const f of this.listeners) f(this.last);
    this.draw();
  }
  take(answer) {
    const t = performance.now() / 1000;
    const sample = this.last && sampleOf(this.last, answer, t);
    if (this.last && !sample && answer.time_s < this.last.time_s) this.samples = [];  // restarted
    if (sample) this.samples.push(sample), (sample.hit_rate = this.hitRate(sample, kHitWindow));
    this.samples = this.samples.filter((s) => !s || s.t > t - kSpan - 20);
    this.last = answer;
  }
  // The share of looked-up prompt tokens that were found, over the last `window` seconds; null if there were none.
  hitRate(sample, window) {
    let first = null;
    for (const s of this.samples) if (s && s.t >= sample.t - window - 1 && !first) first = s;
    if (!first || first === sample) return null;
    const asked = sample.query_tokens - first.query_tokens;
    return asked > 0 ? (sample.hit_tokens - first.hit_tokens) / asked : null;
  }

  build() {
    const value = (name, label) => ({ name, label, value: (s) => s[name] });
    const slots = new PoolBar(["live", "kept", "free"]), pages = new PoolBar(["live", "kept", "free"]);
    this.pools = [[slots, (s) => [s.state_slots.live, s.state_slots.snapshots, s.state_slots.free]],
                  [pages, (s) => [s.kv_pages.live, s.kv_pages.cached, s.kv_pages.free]]];
    const part = (pool, key, name, label) => ({ name, label, value: (s) => s[pool][key] });
    const options = (title, more) => ({ title, span: kSpan, ...more });
    this.plots = [
      new Plot([value("generated", "generated")], options("Generated, tokens/s")),
      new Plot([value("computed", "computed"), value("cached", "from cache")], options("Prompt, tokens/s", { stacked: true })),
      new Plot([value("running", "running"), value("waiting", "waiting")], options("Requests", { stacked: true, whole: true, format: integer })),
      new Plot([{ name: "hit", label: `last ${kHitWindow} s`, value: (s) => s.hit_rate }],
               options("Cache hit rate", { top: () => 1, unit: "%", format: percent })),
      new Plot([part("slots", "live", "live", "running"), part("slots", "snapshots", "kept", "snapshots"), part("slots", "free", "free", "free")],
               options("State slots", { stacked: true, whole: true, top: (s) => s?.slots.total, format: integer, extra: slots.el })),
      new Plot([part("pages", "live", "live", "in use"), part("pages", "cached", "kept", "cached"), part("pages", "free", "free", "free")],
               options("KV pages", { stacked: true, whole: true, top: (s) => s?.pages.total, format: integer, extra: pages.el })),
    ];
    for (const p of this.plots) p.onPoint = (t) => this.plots.forEach((q) => q.pointAt(t));
    this.tiles = Object.fromEntries(["generated", "prompt", "requests", "hit", "busy", "step"].map((name) => [name, h("div", { class: "tile" })]));
    this.facts = h("div", { class: "facts" });
    this.banner = h("div", { class: "banner", role: "status", hidden: true });
    this.totals = h("dl", { class: "totals card" });
    this.root.append(h("div", { class: "status-page" }, h("header", { class: "status-head" }, h("h1", {}, "Status"), this.facts), this.banner,
      h("div", { class: "tiles" }, Object.values(this.tiles)), h("div", { class: "plots" }, this.plots.map((p) => p.el)), this.totals));
  }

  draw() {
    if (!this.shown) return;
    this.banner.hidden = !this.lost;
    if (this.lost) {
      this.banner.textContent = this.lost.kind === "key" ? `${this.lost.message} Enter it in the settings.` : `${this.lost.message} Trying again each second.`;
    }
    const now = performance.now() / 1000;
    for (const p of this.plots) p.set(this.samples, now);
    if (!this.last) return;
    this.drawTiles(this.last, this.samples.at(-1));
    this.drawTotals(this.last);
    for (const [bar, values] of this.pools) bar.set(values(this.last));
    this.facts.replaceChildren(...this.factList(this.last).map((f) => h("span", {}, f)));
  }
  factList(s) {
    const device = s.device.startsWith("cuda") ? `GPU ${s.device.slice(5)}` : s.device.toUpperCase();
    return [s.model, device, `context ${integer(s.max_context)}`, `up ${seconds(s.time_s)}`, `version ${s.version}`, ...(s.draining ? ["draining"] : [])];
  }
  drawTiles(s, sample) {
    const tile = (name, label, value, unit, note) =>
      this.tiles[name].replaceChildren(h("span", {}, label), h("strong", {}, value, unit && h("small", {}, ` ${unit}`)), h("em", {}, note));
    const { drafted, accepted } = s.tokens;
    const first = this.samples.find((q) => q);
    const hit = sample && first ? this.hitRate(sample, kSpan) : null;
    tile("generated", "Generated", short(sample?.generated ?? 0), "tok/s", `${short(s.tokens.generated)} in all`);
    tile("prompt", "Prompt", short((sample?.computed ?? 0) + (sample?.cached ?? 0)), "tok/s", `${short(s.tokens.prompt_computed + s.tokens.prompt_cached)} in all`);
    tile("requests", "Requests", integer(s.requests.running), "running", s.requests.waiting ? `${integer(s.requests.waiting)} waiting` : "none waiting");
    tile("hit", "Cache hits", hit === null ? "-" : percent(hit), hit === null ? "" : "%", "last 5 minutes");
    tile("busy", "Engine busy", percent(sample?.busy ?? 0), "%", `${short(sample?.steps ?? 0)} steps/s`);
    if (drafted > 0) tile("step", "Drafts accepted", percent(accepted / drafted), "%", `${short(accepted)} of ${short(drafted)}`);
    else tile("step", "Last step", ...seconds(s.engine.last_step_s).split(" "), `${short(s.engine.steps)} steps in all`);
  }
  drawTotals(s) {
    const rows = [["Finished", s.requests.finished], ["Cancelled", s.requests.cancelled], ["Failed", s.requests.failed], ["Preempted", s.requests.preemptions],
                  ["Failed steps", s.engine.failed_steps], ["Cache look-ups", s.prefix_cache.queries], ["Cache hits", s.prefix_cache.hits],
                  ["Evictions", s.prefix_cache.evictions], ["Waiting tokens", s.requests.waiting_tokens]];
    this.totals.replaceChildren(...rows.map(([name, n]) => h("div", { class: /Failed/.test(name) && n > 0 ? "bad" : null }, h("dt", {}, name), h("dd", {}, integer(n)))));
  }
}
