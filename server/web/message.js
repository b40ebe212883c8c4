// One message of a chat as an element: what the user wrote, or an answer while and after it comes.
import { copyButton, h, icon, iconButton, integer, seconds, short } from "./dom.js";
import { codeParts, MarkdownView, renderMarkdown } from "./markdown.js";

// on: {edit(text)}; without, the message cannot be edited.
export function userMessage(message, on) {
  const bubble = h("div", { class: "bubble" }, message.content);
  const actions = h("div", { class: "actions" }, copyButton("Copy message", () => message.content));
  const el = h("article", { class: "message user", "aria-label": "You" }, bubble, actions);
  const edit = () => {
    const area = h("textarea", { "aria-label": "Edit the message", rows: 3 });
    area.value = message.content;
    const close = () => form.replaceWith(bubble, actions);
    const submit = () => area.value.trim() && (close(), on.edit(area.value.trim()));
    const form = h("form", { class: "edit", onsubmit: (e) => (e.preventDefault(), submit()) }, area,
      h("div", { class: "edit-end" }, h("button", { type: "button", class: "text", onclick: close }, "Cancel"),
        h("button", { type: "submit", class: "solid" }, "Send again")));
    area.addEventListener("keydown", (e) => {
      if (e.key === "Escape") e.stopPropagation(), close();
      if (e.key === "Enter" && !e.shiftKey && !e.isComposing) e.preventDefault(), submit();
    });
    actions.remove();
    bubble.replaceWith(form);
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  };
  if (on?.edit) actions.append(iconButton("edit", "Edit and send again", edit, { "data-action": "edit" }));
  return el;
}

// Reasoning of a model: open while it comes, closed once the answer starts, unless the reader has chosen.
class Reasoning {
  constructor() {
    this.view = new MarkdownView();
    this.label = h("span", {}, "Thinking");
    this.touched = false;
    this.el = h("details", { class: "reasoning", open: true },
      h("summary", { onclick: () => (this.touched = true) }, icon("thought"), this.label, icon("chevron")), this.view.el);
  }
  end(time) {
    this.label.textContent = time ? `Thought for ${seconds(time)}` : "Thoughts";
    this.el.classList.add("ended");
    if (!this.touched) this.el.open = false;
  }
}

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;  // still coming, or not JSON
  }
}

class ToolCall {
  constructor() {
    this.name = h("b", {});
    this.code = h("code", {});
    this.el = h("section", { class: "tool", "aria-label": "Tool call" },
      h("header", {}, icon("tool"), h("span", {}, "Calls "), this.name, copyButton("Copy arguments", () => this.code.textContent)),
      h("pre", { tabindex: "0" }, this.code));
  }
  show(call) {
    this.name.textContent = call.name;
    this.code.replaceChildren(...codeParts("json", pretty(call.arguments)));
  }
}

// Figures under an answer; the small bar is the part of the prompt that the server had in its cache.
function figures(message) {
  const items = [];
  const { usage, timing, finish } = message;
  const add = (value, unit, title) => items.push(h("span", { title }, h("b", {}, value), ` ${unit}`));
  if (timing?.rate) add(short(timing.rate), "tokens/s", "Generated tokens per second, from the first to the last");
  if (usage) {
    add(integer(usage.completion_tokens), usage.completion_tokens === 1 ? "token" : "tokens", "Tokens generated");
    const cached = usage.prompt_tokens_details?.cached_tokens ?? 0, share = usage.prompt_tokens ? cached / usage.prompt_tokens : 0;
    const fill = h("i", {});
    fill.style.width = `${Math.round(share * 100)}%`;
    items.push(h("span", { title: "Tokens of the prompt, and how many of them were in the prefix cache" }, "prompt ",
      h("b", {}, integer(usage.prompt_tokens)), h("span", { class: "meter", "aria-hidden": "true" }, fill), h("b", {}, integer(cached)), " cached"));
  }
  if (timing?.first) add(seconds(timing.first), "to first token", "From sending to the first token");
  const ends = { length: "ended at the token limit", stopped: "stopped", content_filter: "filtered" };
  if (ends[finish]) items.push(h("span", { class: "note" }, ends[finish]));
  return items;
}

// message: {role, content, reasoning, tool_calls, usage, timing, finish}; on: {regenerate()}.
export class AnswerView {
  constructor(message, on) {
    this.message = message;
    this.on = on;
    this.reasoning = null, this.text = null;
    this.calls = [];
    this.dirty = new Set();
    this.body = h("div", { class: "body" });
    this.foot = h("footer", {});
    this.el = h("article", { class: "message answer", "aria-label": "Answer" }, h("div", { class: "avatar", "aria-hidden": "true" }, icon("mark")),
      h("div", { class: "column" }, this.body, this.foot));
    if (message.finish || message.error) this.showWhole();
    else this.wait();
  }
  wait() {
    this.waiting = h("p", { class: "waiting" }, h("span", { class: "hidden" }, "Waiting for the answer"), h("i"), h("i"), h("i"));
    this.body.append(this.waiting);
    this.el.setAttribute("aria-busy", "true");
  }
  // A message that came from storage.
  showWhole() {
    const m = this.message;
    if (m.reasoning) {
      this.addReasoning(m.reasoning);
      this.reasoning.view.finish();
      this.reasoning.end(m.timing?.reasoning);
    }
    if (m.content) this.body.append(renderMarkdown(m.content));
    (m.tool_calls ?? []).forEach((call, i) => this.setCall(i, call));
    this.showFoot();
    this.render();
  }
  addReasoning(text) {
    this.came();
    if (!this.reasoning) {
      this.reasoning = new Reasoning();
      this.body.append(this.reasoning.el);
    }
    this.reasoning.view.append(text);
    this.dirty.add(this.reasoning.view);
  }
  addText(text) {
    this.came();
    if (!this.text) {
      this.endReasoning();
      this.text = new MarkdownView();
      this.text.el.classList.add("streaming");
      this.body.append(this.text.el);
    }
    this.text.append(text);
    this.dirty.add(this.text);
  }
  setCall(index, call) {
    this.came();
    if (!this.calls[index]) {
      this.endReasoning();
      const view = new ToolCall();
      view.render = () => view.show(call);
      this.calls[index] = view;
      this.body.append(view.el);
    }
    this.dirty.add(this.calls[index]);
  }
  endReasoning() {
    if (!this.reasoning || this.reasoning.el.classList.contains("ended")) return;
    this.reasoning.view.finish();
    this.reasoning.end(this.message.timing?.reasoning);
  }
  came() {
    this.waiting?.remove();
    this.waiting = null;
  }
  // What came since the last call becomes visible.
  render() {
    for (const view of this.dirty) view.render();
    this.dirty.clear();
  }
  finish() {
    this.came();
    this.render();
    this.endReasoning();
    this.text?.finish();
    this.text?.el.classList.remove("streaming");
    this.el.removeAttribute("aria-busy");
    this.showFoot();
  }
  showFoot() {
    const m = this.message;
    const actions = h("div", { class: "actions" });
    if (m.content) actions.append(copyButton("Copy answer", () => m.content));
    if (this.on?.regenerate && !m.error) actions.append(iconButton("redo", "Answer again", this.on.regenerate, { "data-action": "regenerate" }));
    this.foot.replaceChildren(actions, h("div", { class: "figures" }, figures(m)));
  }
  // buttons: [{label, run, main}]; an element may be given to stand before them.
  showError(error, buttons, extra) {
    this.error?.remove();
    this.error = h("div", { class: `problem ${error.kind}`, role: "alert" }, icon(error.kind === "key" ? "key" : "warn"),
      h("div", {}, h("b", {}, error.message), h("p", {}, error.advice), extra,
        h("div", { class: "problem-end" }, buttons.map((b) => h("button", { type: "button", class: b.main ? "solid" : "text", onclick: b.run }, b.label)))));
    this.body.append(this.error);
  }
}
