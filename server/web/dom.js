// Building and reading the document.

export const $ = (id) => document.getElementById(id);

// h("a", {class: "x", href, onclick: f}, "text", node): attributes, listeners and children. Text becomes text nodes, never markup.
export function h(tag, props, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else if (name in el && name !== "list" && typeof value !== "string") el[name] = value;
    else el.setAttribute(name, value === true ? "" : value);
  }
  el.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return el;
}

const kSvg = "http://www.w3.org/2000/svg";

export function svg(tag, attributes = {}, ...children) {
  const el = document.createElementNS(kSvg, tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== undefined) el.setAttribute(name, value);
  el.append(...children);
  return el;
}

// One of the symbols of index.html.
export function icon(name) {
  return svg("svg", { "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

export function iconButton(name, label, onclick, extra = {}) {
  return h("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick, ...extra }, icon(name));
}

export function setIcon(button, name) {
  button.querySelector("use").setAttribute("href", `#i-${name}`);
}

// Pages on plain http other than localhost have no clipboard API.
async function toClipboard(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = h("textarea", { class: "hidden" });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("The browser refused.");
}

// Copies what `text()` gives, and says so on the button for a moment.
export function copyButton(label, text, extra = {}) {
  const button = iconButton("copy", label, async () => {
    try {
      await toClipboard(text());
      setIcon(button, "check");
      announce("Copied");
      setTimeout(() => setIcon(button, "copy"), 1600);
    } catch (error) {
      toast(`Not copied: ${error.message}`);
    }
  }, extra);
  return button;
}

// For screen readers. The same text twice in a row is said twice.
export function announce(text) {
  $("announcer").replaceChildren(h("p", {}, text));
}

let toastTimer = 0;
export function toast(text, action) {
  const box = $("toast");
  const hide = () => (box.hidden = true);
  box.replaceChildren(h("span", {}, text));
  if (action) {
    box.append(h("button", { type: "button", onclick: () => (hide(), action.run()) }, action.label));
  }
  box.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(hide, 6000);
}

const kInteger = new Intl.NumberFormat("en");
export const integer = (n) => kInteger.format(Math.round(n));

// Three figures: 0.123, 12.3, 123, 12.3k, 1.23M.
export function short(n) {
  const a = Math.abs(n);
  if (a >= 999.5e3) return `${(n / 1e6).toPrecision(3)}M`;
  if (a >= 9999.5) return `${(n / 1e3).toPrecision(3)}k`;
  if (a >= 99.95 || Number.isInteger(n)) return integer(n);
  if (a >= 9.995) return n.toFixed(1);
  return n.toFixed(a >= 0.995 ? 1 : 2);
}

export function seconds(s) {
  if (s < 0.0995) return `${Math.max(1, Math.round(s * 1000))} ms`;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 99.5) return `${Math.round(s)} s`;
  const minutes = Math.floor(s / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(s % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}
