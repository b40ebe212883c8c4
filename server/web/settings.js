// The drawer: how the model is asked, the API key, and what the browser keeps.
import { $, h, iconButton } from "./dom.js";
import { apiKey, loadSettings, saveSettings, setApiKey } from "./store.js";

// An empty field is not sent: the model's own default holds.
const kNumbers = [
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.05, hint: "0: always the likeliest token" },
  { name: "top_p", label: "Top-p", min: 0, max: 1, step: 0.01, hint: "likeliest tokens up to this sum" },
  { name: "top_k", label: "Top-k", min: 0, max: 100000, step: 1, hint: "so many likeliest; 0: all" },
  { name: "min_p", label: "Min-p", min: 0, max: 1, step: 0.01, hint: "part of the likeliest one's odds" },
  { name: "repetition_penalty", label: "Repetition penalty", min: 0.1, max: 2, step: 0.05, hint: "1 is none" },
  { name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: 0.1, hint: "0 is none" },
  { name: "max_tokens", label: "Max tokens", min: 1, max: 1000000, step: 1, hint: "of one answer" },
  { name: "seed", label: "Seed", min: 0, max: 9007199254740991, step: 1, hint: "same seed, same text" },
];

let settings = loadSettings();

// What the settings add to a request, and the messages they put first.
export function requestSettings() {
  const out = {};
  for (const { name } of kNumbers) if (settings[name] !== undefined) out[name] = settings[name];
  if (settings.thinking) out.chat_template_kwargs = { enable_thinking: settings.thinking === "on" };
  if (settings.tools) out.tools = JSON.parse(settings.tools);
  return out;
}
export const systemPrompt = () => settings.system?.trim() ?? "";
export const chosenModel = () => settings.model;
export const chooseModel = (model) => set("model", model);

function set(name, value) {
  settings = { ...settings, [name]: value };
  if (value === undefined || value === "") delete settings[name];
  saveSettings(settings);
}

function field(label, hint, control) {
  return h("label", { class: "field" }, h("span", { class: "field-name" }, label), control, hint && h("small", {}, hint));
}

function numberField(spec) {
  const input = h("input", { type: "number", inputmode: "decimal", min: String(spec.min), max: String(spec.max), step: String(spec.step), placeholder: "default", name: spec.name });
  if (settings[spec.name] !== undefined) input.value = settings[spec.name];
  input.addEventListener("input", () => {
    // A value out of its range is marked and not taken.
    const ok = input.value !== "" && input.checkValidity();
    set(spec.name, ok ? Number(input.value) : undefined);
  });
  return field(spec.label, spec.hint, input);
}

function toolsField() {
  const area = h("textarea", { rows: 3, spellcheck: "false", class: "mono", name: "tools", placeholder: '[{"type": "function", "function": {…}}]' });
  area.value = settings.tools ?? "";
  area.addEventListener("input", () => {
    let problem = "";
    try {
      if (area.value.trim() && !Array.isArray(JSON.parse(area.value))) problem = "Not a JSON array";
    } catch (error) {
      problem = error.message;
    }
    area.setCustomValidity(problem);
    note.textContent = problem || kNote;
    if (!problem) set("tools", area.value.trim());
  });
  const kNote = "Functions in OpenAI's form. Calls are shown, not run.";
  const el = field("Tools", kNote, area), note = el.querySelector("small");
  return el;
}

function keyField() {
  const input = h("input", { type: "password", autocomplete: "off", spellcheck: "false", name: "api-key", placeholder: "none" });
  input.value = apiKey();
  input.addEventListener("input", () => setApiKey(input.value.trim()));
  return field("API key", "Kept in this tab only, until it is closed.", input);
}

function section(title, ...children) {
  return h("section", {}, h("h3", {}, title), children);
}

function content(on) {
  const system = h("textarea", { rows: 4, name: "system", placeholder: "None: the model's own default" });
  system.value = settings.system ?? "";
  system.addEventListener("input", () => set("system", system.value));
  const thinking = h("select", { name: "thinking" }, h("option", { value: "" }, "Default of the model"), h("option", { value: "on" }, "On"), h("option", { value: "off" }, "Off"));
  thinking.value = settings.thinking ?? "";
  thinking.addEventListener("change", () => set("thinking", thinking.value));
  const reset = () => {
    const { model } = settings;
    settings = model ? { model } : {};
    saveSettings(settings);
    fill(on);
  };
  return [
    h("header", {}, h("h2", { id: "settings-title", tabindex: "-1", autofocus: true }, "Settings"), iconButton("close", "Close settings", () => $("settings").close())),
    h("div", { class: "drawer-body" },
      section("Instructions", field("System prompt", "Comes before every chat.", system), field("Thinking", "For models that can reason first.", thinking)),
      section("Sampling", h("div", { class: "fields" }, kNumbers.map(numberField))),
      section("Tools", toolsField()),
      section("Access", keyField()),
      section("Data", h("div", { class: "row" }, h("button", { type: "button", class: "text", onclick: reset }, "Reset settings"),
        h("button", { type: "button", class: "text danger", onclick: on.deleteAll }, "Delete all chats")))),
  ];
}

const fill = (on) => $("settings").replaceChildren(...content(on));

// on: {deleteAll(), closed()}
export function setUpSettings(on) {
  const drawer = $("settings");
  $("open-settings").addEventListener("click", () => openSettings());
  drawer.addEventListener("click", (e) => {
    if (e.target === drawer) drawer.close();  // beside the drawer
  });
  drawer.addEventListener("close", on.closed);
  openSettings = (name) => {
    fill(on);
    drawer.showModal();
    if (name) drawer.querySelector(`[name="${name}"]`)?.focus();
  };
}
export let openSettings = () => {};
