// The text of a block to DOM nodes: emphasis, code, links, line breaks.
import { h } from "./dom.js";

const kMaxDelimiters = 2000;  // in one block; more stay as they are, so that no text takes more than linear time
const kPlain = /[^\\`<!\[\]*_~h\n]+/y;
const kUrl = /https?:\/\/[^\s<>"'`\u3001\u3002\uff01-\uff1f\u300a-\u3011]+/y;
const kAngleUrl = /<(https?:\/\/[^\s<>]+)>/y;
const kBreakTag = /<br ?\/?>/iy;
const kTarget = /\(\s*(<[^<>\n]*>|[^\s()<>]*(?:\([^\s()]*\)[^\s()]*)*)(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)/y;
const kPunctuation = /[\p{P}\p{S}]/u;
const kCjk = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\u3000-\u303f\uff00-\uffef]/u;

function matchAt(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

// Only what a browser may safely open; everything else stays text.
function safeUrl(target) {
  if (!/^https?:\/\//i.test(target)) return null;
  try {
    return new URL(target).href;
  } catch {
    return null;
  }
}

function link(url, children) {
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer", title: url }, children);
}

// A link has no links in it: those that are there become their text.
function withoutLinks(nodes) {
  return nodes.map((n) => {
    if (!(n instanceof Element)) return n;
    if (n.tagName === "A") return document.createTextNode(n.textContent);
    for (const a of n.querySelectorAll("a")) a.replaceWith(a.textContent);
    return n;
  });
}

// Whether a run of marks may open or close emphasis: CommonMark's rule, but that Chinese, Japanese and Korean, which have no spaces,
// count as a border.
function flanks(text, start, end) {
  const before = start > 0 ? text.slice(Math.max(0, start - 2), start).match(/.$/su)[0] : " ";
  const after = end < text.length ? String.fromCodePoint(text.codePointAt(end)) : " ";
  const space = (c) => /\s/.test(c), punctuation = (c) => kPunctuation.test(c), cjk = (c) => kCjk.test(c);
  const left = !space(after) && (!punctuation(after) || space(before) || punctuation(before) || cjk(before));
  const right = !space(before) && (!punctuation(before) || space(after) || punctuation(after) || cjk(after));
  if (text[start] !== "_") return { open: left, close: right };
  return { open: left && (!right || punctuation(before)), close: right && (!left || punctuation(after)) };
}

const isRun = (item) => !(item instanceof Node);

// Pairs the runs of marks in `items` and puts what is between into elements.
function emphasise(items) {
  for (let c = 0; c < items.length; ++c) {
    const closer = items[c];
    if (!isRun(closer) || !closer.close) continue;
    let o = c - 1;
    for (; o >= 0; --o) {
      const run = items[o];
      if (!isRun(run) || run.mark !== closer.mark || !run.open || run.count === 0) continue;
      if (closer.mark === "~" ? run.count === closer.count && run.count <= 2 : (!run.close && !closer.open) || (run.count + closer.count) % 3 !== 0 || (run.count % 3 === 0 && closer.count % 3 === 0)) break;
    }
    if (o < 0) continue;
    const opener = items[o];
    const used = closer.mark === "~" ? closer.count : Math.min(2, opener.count, closer.count);
    const tag = closer.mark === "~" ? "del" : used === 2 ? "strong" : "em";
    const inner = items.slice(o + 1, c).map(toNode);
    opener.count -= used, closer.count -= used;
    items.splice(o + 1, c - o - 1, h(tag, {}, inner));
    c = o + 2;                         // the closer's new place
    if (closer.count > 0) --c;         // it may close another
  }
  return items.map(toNode);
}

const toNode = (item) => (isRun(item) ? document.createTextNode(item.mark.repeat(item.count)) : item);

class Inline {
  constructor(text) {
    this.text = text;
    this.items = [];     // nodes, and runs of marks {mark, count, open, close}
    this.gathered = "";
    this.brackets = [];  // open ones: {at: index in items, image}
    this.runs = 0;
    this.ticks = null;   // by length, where runs of backquotes start
  }
  // Text is gathered as a string: a node that grows by pieces would be copied each time.
  add(text) {
    this.gathered += text;
  }
  push(item) {
    if (this.gathered) this.items.push(document.createTextNode(this.gathered));
    this.gathered = "";
    if (item) this.items.push(item);
  }
  parse() {
    for (let i = 0; i < this.text.length;) i = this.step(i);
    this.push();
    return emphasise(this.items);
  }
  // Takes what starts at i; returns where it ends.
  step(i) {
    const c = this.text[i];
    switch (c) {
      case "\\": return this.escape(i);
      case "`": return this.code(i);
      case "<": return this.angle(i);
      case "\n": return this.lineBreak(i);
      case "*": case "_": case "~": return this.run(i, c);
      case "[": return this.openBracket(i, i + 1, false);
      case "!":
        if (this.text[i + 1] === "[") return this.openBracket(i, i + 2, true);
        break;
      case "]": return this.closeBracket(i);
      case "h": {
        const url = /[\p{L}\p{N}]/u.test(this.text[i - 1] ?? " ") ? null : matchAt(kUrl, this.text, i);
        if (url) return this.bareUrl(i, url[0]);
        break;
      }
      default: {
        const plain = matchAt(kPlain, this.text, i)[0];
        this.add(plain);
        return i + plain.length;
      }
    }
    this.add(c);
    return i + 1;
  }
  escape(i) {
    const next = this.text[i + 1] ?? "";
    if (next === "\n") return this.lineBreak(i + 1);
    const escapes = /[!-/:-@[-`{-~]/.test(next);
    this.add(escapes ? next : "\\");
    return escapes ? i + 2 : i + 1;
  }
  code(i) {
    let length = 1;
    while (this.text[i + length] === "`") ++length;
    const start = this.runEnd(i, length);
    if (start !== null) {
      let body = this.text.slice(i + length, start).replace(/\n/g, " ");
      if (body.startsWith(" ") && body.endsWith(" ") && body.trim()) body = body.slice(1, -1);
      this.push(h("code", {}, body));
      return start + length;
    }
    this.add("`".repeat(length));
    return i + length;
  }
  // Where the next run of `length` backquotes after i starts. Each list is walked once.
  runEnd(i, length) {
    if (!this.ticks) {
      this.ticks = new Map();
      for (const m of this.text.matchAll(/`+/g)) {
        if (!this.ticks.has(m[0].length)) this.ticks.set(m[0].length, { starts: [], next: 0 });
        this.ticks.get(m[0].length).starts.push(m.index);
      }
    }
    const list = this.ticks.get(length);
    while (list && list.starts[list.next] <= i) ++list.next;
    return list?.starts[list.next] ?? null;
  }
  angle(i) {
    const url = matchAt(kAngleUrl, this.text, i), br = matchAt(kBreakTag, this.text, i);
    if (url && safeUrl(url[1])) {
      this.push(link(safeUrl(url[1]), [url[1]]));
      return i + url[0].length;
    }
    if (br) {
      this.push(h("br"));
      return i + br[0].length;
    }
    this.add("<");
    return i + 1;
  }
  lineBreak(i) {
    this.gathered = this.gathered.trimEnd();
    this.push(h("br"));
    while (this.text[i + 1] === " ") ++i;
    return i + 1;
  }
  run(i, mark) {
    let end = i + 1;
    while (this.text[end] === mark) ++end;
    if (++this.runs > kMaxDelimiters) this.add(this.text.slice(i, end));
    else this.push({ mark, count: end - i, ...flanks(this.text, i, end) });
    return end;
  }
  bareUrl(i, found) {
    let text = found.replace(/[.,;:!?*_~]+$/, "");
    while (text.endsWith(")") && text.split(")").length > text.split("(").length) text = text.slice(0, -1);
    const url = safeUrl(text);
    if (url) this.push(link(url, [text]));
    else this.add(text);
    return i + text.length;
  }
  openBracket(i, end, image) {
    this.push(document.createTextNode(this.text.slice(i, end)));
    this.brackets.push({ at: this.items.length - 1, image });
    return end;
  }
  closeBracket(i) {
    const bracket = this.brackets.pop();
    const target = bracket && this.text[i + 1] === "(" ? matchAt(kTarget, this.text, i + 1) : null;
    if (!target) {
      this.add("]");
      return i + 1;
    }
    this.push();
    const url = safeUrl(target[1].replace(/^<|>$/g, ""));
    const inner = withoutLinks(emphasise(this.items.splice(bracket.at).slice(1)));
    if (url) this.push(link(url, inner.some((n) => n.textContent) ? inner : [url]));
    else {
      this.items.push(...inner);
      this.add(target[1] ? ` (${target[1]})` : "");
    }
    return i + 1 + target[0].length;
  }
}

export function renderInline(text) {
  return new Inline(text).parse();
}
