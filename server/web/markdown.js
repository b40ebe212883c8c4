// Markdown to DOM nodes, while it is still being written. Model text never becomes markup: every piece of it ends in a text node.
//
// MarkdownView keeps the blocks that can no longer change and renders only the last, open one again; open code grows by lines. What
// is understood is CommonMark's everyday part with GitHub's tables, task lists and strike-through; HTML is shown as text, an image
// as a link (the page loads nothing from elsewhere).
import { copyButton, h } from "./dom.js";
import { highlightLine, languageOf } from "./highlight.js";
import { parseBlocks } from "./markdown_blocks.js";
import { renderInline } from "./markdown_inline.js";

// A fenced block. update() may be called again with more text.
class CodeView {
  constructor(info) {
    this.info = info;
    const name = info.trim().split(/[\s{,:]/)[0];
    this.language = languageOf(name);
    this.state = { until: null, kind: "" };
    this.text = "";
    this.done = 0;  // complete lines, coloured
    this.code = h("code", {});
    this.last = document.createTextNode("");
    this.code.append(this.last);
    this.el = h("figure", { class: "code" },
      h("figcaption", {}, h("span", {}, name || "text"), copyButton("Copy code", () => this.text)),
      h("pre", { tabindex: "0" }, this.code));
  }
  update(lines, closed) {
    const complete = closed ? lines.length : Math.max(0, lines.length - 1);
    const fresh = document.createDocumentFragment();
    for (; this.done < complete; ++this.done) {
      if (this.done > 0) fresh.append("\n");
      for (const [kind, text] of highlightLine(this.language, lines[this.done], this.state)) {
        fresh.append(kind ? h("span", { class: `c-${kind}` }, text) : text);
      }
    }
    this.last.before(fresh);
    const last = closed ? "" : (lines[complete] ?? "");
    const fence = /^ {0,3}[`~]{1,3}$/.test(last);  // most likely the closing one
    this.last.data = !last || fence ? "" : complete > 0 ? `\n${last}` : last;
    this.text = lines.join("\n");
    return this.el;
  }
}

// Coloured code, without a frame.
export function codeParts(name, text) {
  const language = languageOf(name), state = { until: null, kind: "" };
  const parts = text.split("\n").flatMap((line, i) => [...(i ? [["", "\n"]] : []), ...highlightLine(language, line, state)]);
  return parts.map(([kind, part]) => (kind ? h("span", { class: `c-${kind}` }, part) : part));
}

function renderCode(block) {
  const view = new CodeView(block.info);
  view.update(block.lines, true);
  return view.el;
}

function renderList(block) {
  const el = h(block.ordered ? "ol" : "ul", {});
  if (block.ordered && block.start !== 1) el.start = block.start;
  for (const item of block.items) {
    const li = h("li", {});
    if (item.task !== null) li.className = "task", li.append(h("input", { type: "checkbox", disabled: true, checked: item.task, "aria-label": item.task ? "done" : "open" }));
    for (const child of item.blocks) {
      // Items of a tight list are lines, not paragraphs.
      if (child.type === "paragraph" && !block.loose) li.append(...renderInline(child.text));
      else li.append(renderBlock(child));
    }
    el.append(li);
  }
  return el;
}

function renderTable(block) {
  const row = (cells, tag) => h("tr", {}, block.align.map((align, i) => h(tag, { class: align }, renderInline(cells[i] ?? ""))));
  return h("div", { class: "table", tabindex: "0" },
    h("table", {}, h("thead", {}, row(block.head, "th")), h("tbody", {}, block.rows.map((r) => row(r, "td")))));
}

function renderBlock(block) {
  switch (block.type) {
    case "code": return renderCode(block);
    case "heading": return h(`h${Math.min(6, block.level + 1)}`, {}, renderInline(block.text));  // h1 is the page's
    case "rule": return h("hr", {});
    case "quote": return h("blockquote", {}, block.blocks.map(renderBlock));
    case "list": return renderList(block);
    case "table": return renderTable(block);
    default: return h("p", {}, renderInline(block.text));
  }
}

// A last line that may yet become another kind of block than it looks like: shown when more of it has come.
const kUndecided = /^ {0,3}(?:-{1,2}|=+|[*+]|\d{1,9}[.)]?|[`~]{1,2}|#{1,6}|\|[ :|-]*)$/;

export class MarkdownView {
  constructor() {
    this.el = h("div", { class: "md" });
    this.held = "";
    this.open = "";     // text from the open block's first line on
    this.tail = [];     // its elements
    this.code = null;   // its CodeView, if it is a fenced block
    this.dirty = false;
    this.ended = false;
  }
  append(text) {
    text = this.held + text;
    this.held = text.endsWith("\r") ? "\r" : "";  // half a line break, perhaps
    this.open += text.slice(0, text.length - this.held.length).replace(/\r\n?/g, "\n");
    this.dirty = true;
  }
  finish() {
    this.open += this.held ? "\n" : "";
    this.held = "";
    this.ended = true;
    this.dirty = true;
    this.render();
  }
  // What append() added becomes visible.
  render() {
    if (!this.dirty) return;
    this.dirty = false;
    this.commit();
    const cut = this.open.lastIndexOf("\n") + 1;
    const undecided = !this.ended && !this.code && kUndecided.test(this.open.slice(cut));
    const blocks = parseBlocks((undecided ? this.open.slice(0, cut) : this.open).split("\n"));
    this.place(blocks);
  }
  // Blocks that another one follows, in complete lines, are final.
  commit() {
    const lines = this.open.split("\n");
    const complete = lines.slice(0, -1);
    const blocks = parseBlocks(complete);
    if (blocks.length < 2) return;
    const last = blocks.pop();
    this.place(blocks);
    this.tail = [], this.code = null;
    this.open = lines.slice(last.from).join("\n");
  }
  // Shows `blocks` in place of the tail.
  place(blocks) {
    const elements = [];
    let code = null;
    blocks.forEach((block, i) => {
      if (i === 0 && block.type === "code" && block.fenced) {
        code = this.code?.info === block.info ? this.code : new CodeView(block.info);
        elements.push(code.update(block.lines, block.closed || this.ended));
      } else elements.push(renderBlock(block));
    });
    if (code && code === this.code) {
      for (const el of this.tail.slice(1)) el.remove();
      this.el.append(...elements.slice(1));
    } else {
      for (const el of this.tail) el.remove();
      this.el.append(...elements);
    }
    this.tail = elements, this.code = code;
  }
}

export function renderMarkdown(text) {
  const view = new MarkdownView();
  view.append(text);
  view.finish();
  return view.el;
}
