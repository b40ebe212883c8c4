// The chat in hand: sends, streams, stops, edits.
import { ApiError, streamChat } from "./api.js";
import { $, announce, h, icon } from "./dom.js";
import { AnswerView, userMessage } from "./message.js";
import { chosenModel, openSettings, requestSettings, systemPrompt } from "./settings.js";
import { newChat, saveChat, setApiKey } from "./store.js";

// What the demo model (its folder is demo/model) was trained for, and what others can do.
const kWordProblems = [
  "Jon has 83 buttons. Jon finds 88 more. Jon sells 60. How many buttons are there in the end?",
  "Mia packs 12 boxes with 25 pears each. 40 pears are left over. Then 200 are sold. How many pears does Mia have?",
];
const kSuggestions = [
  "Write a Python function that merges two sorted lists, and explain it.",
  "Compare quicksort, merge sort and heapsort in a table.",
  "用简单的语言解释一下什么是循环神经网络。",
];

export class Chat {
  // on: {changed()} when the chat's title or age changed, {model()} gives a promise of the model to ask.
  constructor(on) {
    this.on = on;
    this.chat = newChat();
    this.views = new WeakMap();  // message -> what shows it
    this.answer = null;   // the AnswerView that streams
    this.abort = null;
    this.stick = true;    // the view follows the answer's end
    this.frame = 0;
    this.setUpComposer();
    this.setUpScroll();
    this.draw();
  }

  get busy() {
    return this.abort !== null;
  }

  open(chat) {
    this.stop();
    this.chat = chat;
    // One that the page was closed on.
    for (const m of chat.messages) if (m.role === "assistant" && !m.error) m.finish ??= "stopped";
    this.draw();
    $("input").focus({ preventScroll: true });
  }

  // The messages as elements.
  draw() {
    const { messages } = this.chat;
    const thread = $("thread");
    thread.replaceChildren(...messages.map((m, i) => this.element(m, i)));
    thread.classList.toggle("empty", messages.length === 0);
    if (messages.length === 0) thread.append(this.welcome());
    const last = messages.at(-1);
    if (last?.error) this.showError(this.views.get(last), new ApiError(last.error.kind, last.error.message, last.error.advice));
    this.stick = true;
    this.follow();
  }
  // Made once for each message, which keeps its place for life.
  element(message, index) {
    let view = this.views.get(message);
    if (!view) {
      view = message.role === "user" ? { el: userMessage(message, { edit: (text) => this.edit(index, text) }) }
                                     : new AnswerView(message, { regenerate: () => this.regenerate(index) });
      this.views.set(message, view);
    }
    return view.el;
  }
  // Drawn again when the model is known.
  modelKnown() {
    if (this.chat.messages.length === 0) this.draw();
  }
  welcome() {
    const suggestions = /demo|^model$/i.test(chosenModel() ?? "demo") ? kWordProblems : kSuggestions;
    return h("div", { class: "welcome" }, h("div", { class: "welcome-mark", "aria-hidden": "true" }, icon("mark")),
      h("h1", {}, "What shall we work on?"),
      h("div", { class: "suggestions" }, suggestions.map((text) => h("button", { type: "button", onclick: () => this.send(text) }, text))));
  }

  setUpComposer() {
    const input = $("input");
    const fit = () => {
      input.style.height = "auto";
      input.style.height = `${Math.min(input.scrollHeight, innerHeight * 0.4)}px`;
      $("send").disabled = !input.value.trim();
    };
    this.fit = fit;
    input.addEventListener("input", fit);
    input.addEventListener("keydown", (e) => {
      // Enter that ends the composing of a Chinese or Japanese word does not send.
      if (e.key === "Enter" && !e.shiftKey && !e.isComposing && e.keyCode !== 229) {
        e.preventDefault();
        this.submit();
      } else if (e.key === "ArrowUp" && !input.value && !this.busy) {
        const edits = $("thread").querySelectorAll('[data-action="edit"]');
        if (edits.length) e.preventDefault(), edits[edits.length - 1].click();
      }
    });
    $("composer").addEventListener("submit", (e) => (e.preventDefault(), this.submit()));
    $("stop").addEventListener("click", () => this.stop());
    addEventListener("keydown", (e) => {
      if (e.key === "Escape" && this.busy && !document.querySelector("dialog[open]")) this.stop();
    });
    addEventListener("pagehide", () => this.busy && this.save());
  }
  submit() {
    const text = $("input").value.trim();
    if (!text || this.busy) return;
    $("input").value = "";
    this.fit();
    this.send(text);
  }

  setUpScroll() {
    const scroll = $("scroll");
    const gap = () => scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight;
    let before = 0;
    scroll.addEventListener("scroll", () => {
      // Upwards by the reader: no longer follow. Near the end: follow again.
      if (scroll.scrollTop < before - 2 && gap() > 24) this.stick = false;
      if (gap() < 24) this.stick = true;
      before = scroll.scrollTop;
      $("to-end").hidden = gap() < 160;
    }, { passive: true });
    $("to-end").addEventListener("click", () => (this.stick = true, scroll.scrollTo({ top: scroll.scrollHeight, behavior: "smooth" })));
    new ResizeObserver(() => this.follow()).observe($("thread"));
  }
  follow() {
    const scroll = $("scroll");
    if (this.stick) scroll.scrollTop = scroll.scrollHeight;
  }

  send(text) {
    if (this.busy) return;
    this.chat.messages.push({ role: "user", content: text });
    if (!this.chat.title) this.chat.title = text.replace(/\s+/g, " ").slice(0, 80);
    this.ask();
  }
  edit(index, text) {
    this.stop();
    this.chat.messages.length = index;
    if (index === 0) this.chat.title = "";
    this.send(text);
  }
  regenerate(index) {
    this.stop();
    this.chat.messages.length = index;
    this.ask();
  }
  stop() {
    this.abort?.abort();
    if (this.abort) this.ended();
  }
  ended() {
    this.abort = null, this.answer = null;
    this.showBusy(false);
  }
  save() {
    this.chat.updated = Date.now();
    saveChat(this.chat);
    this.on.changed();
  }

  // Asks for an answer to the messages there are, and shows it as it comes.
  async ask() {
    const chat = this.chat;
    const messages = this.requestMessages(chat.messages);
    const message = { role: "assistant", content: "" };
    chat.messages.push(message);
    this.draw();
    this.save();
    const view = this.views.get(message);
    const controller = new AbortController();
    this.abort = controller, this.answer = view;
    this.showBusy(true);
    announce("Waiting for the answer");
    try {
      message.model = await this.on.model();
      controller.signal.throwIfAborted();
      await this.stream({ model: message.model, messages, ...requestSettings() }, message, view, controller.signal);
    } catch (error) {
      if (error.name === "AbortError") message.finish = "stopped";
      else if (error instanceof ApiError) message.error = { kind: error.kind, message: error.message, advice: error.advice };
      else message.error = { kind: "server", message: "This page failed.", advice: String(error) };
      if (message.error) this.showError(view, error instanceof ApiError ? error : { ...message.error });
    } finally {
      view.finish();
      if (this.abort === controller) this.ended();  // else another one has begun
      chat.updated = Date.now();
      saveChat(chat);
      this.on.changed();
      announce(message.error ? message.error.message : `Answer: ${message.content.slice(0, 400)}`);
    }
  }
  requestMessages(messages) {
    const system = systemPrompt();
    const out = system ? [{ role: "system", content: system }] : [];
    for (const m of messages) {
      // After an answer that failed there are two messages of the user in a row, which many templates refuse.
      if (m.role === "user" && out.at(-1)?.role === "user") out.at(-1).content += `\n\n${m.content}`;
      else if (m.role === "user") out.push({ role: "user", content: m.content });
      else if (m.content) out.push({ role: "assistant", content: m.content });
    }
    return out;
  }
  async stream(body, message, view, signal) {
    const start = performance.now();
    let first = 0, last = 0;
    message.timing = {};
    const came = () => {
      last = performance.now();
      if (!first) first = last, message.timing.first = (first - start) / 1000;
      this.schedule();
    };
    let result = null;
    try {
      result = await streamChat(body, {
        reasoning: (text) => {
          came();
          message.reasoning = (message.reasoning ?? "") + text;
          message.timing.reasoning = (last - first) / 1000;
          view.addReasoning(text);
        },
        text: (text) => {
          came();
          message.content += text;
          view.addText(text);
        },
        toolCall: (index, part) => {
          came();
          const calls = (message.tool_calls ??= []);
          const call = (calls[index] ??= { id: part.id, name: "", arguments: "" });
          call.name += part.name, call.arguments += part.arguments;
          view.setCall(index, call);
        },
      }, signal);
    } finally {
      if (result) message.finish = result.finish, message.usage = result.usage;
      const tokens = message.usage?.completion_tokens ?? 0;
      // A short answer may come in one burst: then its time counts from the sending, which is too long rather than too short.
      const burst = last - first < 100;
      if (tokens > 1 && last > first) message.timing.rate = (burst ? tokens : tokens - 1) / ((last - (burst ? start : first)) / 1000);
    }
  }
  // One rendering a frame, however many pieces came.
  schedule() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.answer?.render();
    });
  }
  showBusy(busy) {
    $("stop").hidden = !busy;
    $("send").hidden = busy;
    $("chat-view").classList.toggle("busy", busy);
    if (!busy) this.fit();
  }

  showError(view, error) {
    const again = () => this.regenerate(this.chat.messages.indexOf(view.message));
    const buttons = [];
    let extra = null;
    if (error.kind === "key") {
      const input = h("input", { type: "password", autocomplete: "off", placeholder: "API key", "aria-label": "API key" });
      const use = () => input.value.trim() && (setApiKey(input.value.trim()), again());
      extra = h("form", { class: "key-form", onsubmit: (e) => (e.preventDefault(), use()) }, input, h("button", { type: "submit", class: "solid" }, "Use this key"));
    } else if (error.kind === "long") {
      buttons.push({ label: "New chat", run: () => (location.hash = "#/new"), main: true });
    } else {
      buttons.push({ label: "Try again", run: again, main: true });
      if (error.kind === "request") buttons.push({ label: "Open settings", run: () => openSettings() });
    }
    view.showError(error, buttons, extra);
    if (error.retryAfter) this.countDown(view, error.retryAfter);
  }
  // The button says when the server wants to be asked again.
  countDown(view, left) {
    const button = view.error.querySelector("button.solid");
    const tick = () => {
      if (!button.isConnected) return;
      button.disabled = left > 0;
      button.textContent = left > 0 ? `Try again in ${left} s` : "Try again";
      if (left-- > 0) setTimeout(tick, 1000);
    };
    tick();
  }
}
