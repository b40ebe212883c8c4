// Lines to blocks: {type, from, ...}, `from` being the first line's index. Every pattern here takes time linear in its line.

const kMaxDepth = 12;  // of quotes and lists; deeper ones are text
const kFence = /^( {0,3})(`{3,}|~{3,})([^`]*)$/;
const kHeading = /^ {0,3}(#{1,6})(?:[ \t]|$)/;
const kRule = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const kQuote = /^ {0,3}> ?/;
const kMarker = /^( *)([-*+]|\d{1,9}[.)])( +|$)/;
const kDelimiterCell = /^:?-+:?$/;

const blank = (line) => !/\S/.test(line);
const indentOf = (line) => /^ */.exec(line)[0].length;
const expandTabs = (line) => (line.includes("\t") ? line.replace(/^[ \t]+/, (s) => s.replace(/\t/g, "    ")) : line);

// A list's marker at the start of a line, with less than four spaces before it.
function markerOf(line) {
  const m = kMarker.exec(line);
  if (!m || m[1].length > 3 || kRule.test(line)) return null;
  const ordered = m[2].length > 1 || /\d/.test(m[2]);
  const gap = m[3].length >= 1 && m[3].length <= 4 ? m[3].length : 1;
  return { indent: m[1].length, ordered, kind: m[2].at(-1), number: ordered ? parseInt(m[2], 10) : 0,
           content: m[1].length + m[2].length + gap, empty: blank(line.slice(m[0].length)) };
}

function splitRow(line) {
  const cells = [];
  let text = line.trim(), cell = "", ticks = false;
  if (text.startsWith("|")) text = text.slice(1);
  if (text.endsWith("|") && !text.endsWith("\\|")) text = text.slice(0, -1);
  for (let i = 0; i < text.length; ++i) {
    if (text[i] === "\\" && text[i + 1] === "|") cell += "|", ++i;
    else if (text[i] === "|" && !ticks) cells.push(cell.trim()), cell = "";
    else {
      if (text[i] === "`") ticks = !ticks && text.includes("`", i + 1);
      cell += text[i];
    }
  }
  cells.push(cell.trim());
  return cells;
}

// The columns' alignments if lines i and i + 1 start a table.
function tableAt(lines, i) {
  const head = lines[i], next = lines[i + 1];
  if (!head || !next || !head.includes("|") || !next.includes("-") || indentOf(head) > 3) return null;
  const cells = splitRow(next);
  if (!cells.every((c) => kDelimiterCell.test(c)) || splitRow(head).length !== cells.length) return null;
  return cells.map((c) => (c.startsWith(":") && c.endsWith(":") ? "center" : c.endsWith(":") ? "right" : "left"));
}

// Whether a line ends a paragraph before it.
function interrupts(lines, i) {
  const line = lines[i];
  if (blank(line) || kFence.test(line) || kHeading.test(line) || kRule.test(line) || kQuote.test(line) || tableAt(lines, i)) return true;
  const marker = markerOf(line);
  return !!marker && !marker.empty && (!marker.ordered || marker.number === 1);
}

function fencedAt(lines, i, open) {
  const [, indent, mark, info] = open;
  const body = [];
  for (let j = i + 1; j < lines.length; ++j) {
    const line = lines[j], text = line.trim();
    if (indentOf(line) < 4 && text.length >= mark.length && text[0] === mark[0] && text === mark[0].repeat(text.length)) {
      return { block: { type: "code", from: i, fenced: true, info, lines: body, closed: true }, next: j + 1 };
    }
    body.push(line.slice(Math.min(indent.length, indentOf(line))));
  }
  return { block: { type: "code", from: i, fenced: true, info, lines: body, closed: false }, next: lines.length };
}

function indentedAt(lines, i) {
  const body = [];
  let j = i;
  for (; j < lines.length && (blank(lines[j]) || indentOf(lines[j]) >= 4); ++j) body.push(lines[j].slice(4));
  while (blank(body.at(-1))) body.pop();
  return { block: { type: "code", from: i, info: "", lines: body, closed: true }, next: j };
}

function quoteAt(lines, i, depth) {
  const inner = [];
  let j = i;
  // A paragraph in it may go on without the mark.
  for (; j < lines.length && (kQuote.test(lines[j]) || (!blank(inner.at(-1) ?? "") && !interrupts(lines, j))); ++j) {
    inner.push(lines[j].replace(kQuote, ""));
  }
  return { block: { type: "quote", from: i, blocks: parseBlocks(inner, depth + 1) }, next: j };
}

function listAt(lines, i, first, depth) {
  const list = { type: "list", from: i, ordered: first.ordered, start: first.number, loose: false, items: [] };
  let j = i, marker = first;
  while (marker && marker.kind === first.kind) {
    const inner = [lines[j].slice(Math.min(marker.content, lines[j].length))];
    let gap = false, next = null;
    for (++j; j < lines.length; ++j) {
      const line = lines[j];
      if (blank(line)) {
        inner.push(""), gap = true;
        continue;
      }
      const indent = indentOf(line), nested = markerOf(line.slice(Math.min(indent, 4)));
      // Models often indent by less than the text above: two columns are enough for a list in a list.
      const inside = indent >= marker.content || (nested && indent >= marker.indent + 2);
      if (!inside) {
        next = markerOf(line);
        if (next || gap || interrupts(lines, j)) break;
      }
      inner.push(line.slice(Math.min(indent, marker.content)));
      gap = false, next = null;
    }
    const trailing = blank(inner.at(-1) ?? "") && inner.length > 1;
    while (inner.length > 1 && blank(inner.at(-1))) inner.pop();
    const task = /^\[([ xX])\] +/.exec(inner[0]);
    if (task) inner[0] = inner[0].slice(task[0].length);
    const blocks = parseBlocks(inner, depth + 1);
    list.items.push({ task: task ? task[1] !== " " : null, blocks });
    marker = j < lines.length ? next : null;
    if ((trailing && marker?.kind === first.kind) || blocks.filter((b) => b.type === "paragraph").length > 1) list.loose = true;
  }
  return { block: list, next: j };
}

function tableBlockAt(lines, i, align) {
  const rows = [];
  let j = i + 2;
  for (; j < lines.length && !blank(lines[j]) && lines[j].includes("|"); ++j) rows.push(splitRow(lines[j]));
  return { block: { type: "table", from: i, align, head: splitRow(lines[i]), rows }, next: j };
}

function paragraphAt(lines, i) {
  let j = i + 1;
  for (; j < lines.length; ++j) {
    const underline = /^ {0,3}(=+|-+)[ \t]*$/.exec(lines[j]);
    if (underline) {
      const text = lines.slice(i, j).map((l) => l.trim()).join("\n");
      return { block: { type: "heading", from: i, level: underline[1][0] === "=" ? 1 : 2, text }, next: j + 1 };
    }
    if (interrupts(lines, j)) break;
  }
  const text = lines.slice(i, j).map((l) => l.trimStart()).join("\n").trimEnd();
  return { block: { type: "paragraph", from: i, text }, next: j };
}

function blockAt(lines, i, depth) {
  const line = lines[i];
  const fence = kFence.exec(line);
  if (fence) return fencedAt(lines, i, fence);
  const heading = kHeading.exec(line);
  if (heading) {
    const text = line.trim().slice(heading[1].length).trim().replace(/(^|[ \t])#+$/, "");
    return { block: { type: "heading", from: i, level: heading[1].length, text }, next: i + 1 };
  }
  if (kRule.test(line)) return { block: { type: "rule", from: i }, next: i + 1 };
  if (depth < kMaxDepth && kQuote.test(line)) return quoteAt(lines, i, depth);
  const marker = depth < kMaxDepth && markerOf(line);
  if (marker) return listAt(lines, i, marker, depth);
  const align = tableAt(lines, i);
  if (align) return tableBlockAt(lines, i, align);
  if (indentOf(line) >= 4) return indentedAt(lines, i);
  return paragraphAt(lines, i);
}

export function parseBlocks(source, depth = 0) {
  const lines = source.map(expandTabs);
  const blocks = [];
  for (let i = 0; i < lines.length;) {
    if (blank(lines[i])) {
      ++i;
      continue;
    }
    const { block, next } = blockAt(lines, i, depth);
    blocks.push(block);
    i = next;
  }
  return blocks;
}
